from .predict import Prediction as Prediction
from .predict import predict_many as predict_many
