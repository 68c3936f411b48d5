from .captured import Recording as Recording
from .intervene import intervene as intervene
from .proof import Proof as Proof
from .record import AttentionRecord as AttentionRecord
from .session import capture as capture
