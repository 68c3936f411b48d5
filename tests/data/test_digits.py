import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pytest
from drawings import FONTS, photographed, printed, stroke
from numpy import ndarray
from PIL import Image, ImageOps

from clearhead.data.digits import NO_DIGIT, SEVERAL, TOO_SMALL, Digit, read_digit
from clearhead.data.grey import to_grey
from clearhead.data.pictures import open_picture
