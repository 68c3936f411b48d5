from .augment import distort as distort
from .augment import draw_distortion as draw_distortion
from .config import AugmentConfig as AugmentConfig
from .datasets import load_dataset as load_dataset
from .images import ImageDataset as ImageDataset
from .pixels import normalize as normalize
