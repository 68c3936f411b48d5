from .fit import fit as fit
from .study import Budget as Budget
from .study import Check as Check
from .study import Comparison as Comparison
from .study import Evidence as Evidence
from .study import Outcome as Outcome
from .study import Study as Study
from .study import Trial as Trial
