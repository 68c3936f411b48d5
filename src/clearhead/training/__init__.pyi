from .config import TrainConfig as TrainConfig
from .job import run_job as run_job
from .loop import train as train
from .recipes import RECIPES as RECIPES
