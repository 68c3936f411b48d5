from .evaluate import Evaluation as Evaluation
from .figure import draw_digits as draw_digits
from .metrics import wilson_interval as wilson_interval
