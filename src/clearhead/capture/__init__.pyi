from .captured import Captured as Captured
from .intervene import intervene as intervene
from .proof import Proof as Proof
from .record import Attention as Attention
from .session import capture as capture
