from . import attention as attention
from . import data as data
from . import errors as errors
from . import evaluation as evaluation
from . import models as models
from . import prediction as prediction
from . import training as training
