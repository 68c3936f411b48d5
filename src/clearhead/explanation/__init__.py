"""Fifth floor: what attention, or a study, showed, in files that open anywhere.

- `readers/`: models with all that is needed to show them a picture, and to say what they saw
- `picture/`: one picture explained, as plain data, page, figure and tables
- `studies/`: what studies found, as page, text and data
- `text/`: whom the words of a text attend to
- `sealed`, `page/`: what all pages are made of: one file, without requests
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
