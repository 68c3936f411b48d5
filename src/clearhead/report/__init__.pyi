from .explanation import Explanation as Explanation
from .explanation import Layer as Layer
from .explanation import explain as explain
from .influence import Influence as Influence
from .reader import Reader as Reader
from .reader import View as View
from .readers import open_reader as open_reader
from .write import write_report as write_report
