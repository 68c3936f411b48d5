from ._run import run as run
from ._run import run_workers as run_workers
from .app import make_app as make_app
from .config import ServeConfig as ServeConfig
