from ._evaluate import Evaluation as Evaluation
from ._evaluate import evaluate as evaluate
from ._predict import Prediction as Prediction
from ._predict import predict as predict
from .metrics import wilson_interval as wilson_interval
from .plots import draw_digits as draw_digits
