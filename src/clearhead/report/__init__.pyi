from .attend import Attended as Attended
from .attend import attend as attend
from .attend import open_text_reader as open_text_reader
from .explanation import Explanation as Explanation
from .explanation import Layer as Layer
from .explanation import explain as explain
from .influence import Influence as Influence
from .reader import Reader as Reader
from .reader import View as View
from .readers import open_reader as open_reader
<<<<<<< HEAD
from .study_report import StudyReport as StudyReport
from .study_report import report_studies as report_studies
from .study_write import write_study_report as write_study_report
=======
from .text_reader import TextReader as TextReader
>>>>>>> fd4b539c3fce5c6e2582226453c95ff2829182f6
from .write import write_report as write_report
