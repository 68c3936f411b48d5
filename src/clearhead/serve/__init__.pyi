from ._run import run as run
from .app import make_app as make_app
from .config import ServeConfig as ServeConfig
