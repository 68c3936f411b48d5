from ._capture import Layers as Layers
from ._capture import capture as capture
from ._capture import intervene as intervene
from ._capture import select_layers as select_layers
from ._record import AttentionRecord as AttentionRecord
from ._recording import Recording as Recording
from ._verification import Verification as Verification
