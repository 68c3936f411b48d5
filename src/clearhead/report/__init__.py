"""Fifth floor: what attention, or a study, showed, in files that open anywhere.

- `reader`, `readers`: a model with all that is needed to show it a picture, and to say what it saw
- `own`, `timm_models`, `hf_models`, `libraries`: readers of ours and of two libraries' models
- `explanation`: `explain`, a picture's explanation as plain data; `kept`: how much of it is kept
- `photos`: pictures in colour, in and out; `influence`: what the answer rests on, in three ways
- `html`, `payload`, `page/`: that data as one HTML file without requests; `static`: its plain parts
- `sealed`: what all pages are made of
- `figure`, `tables`: the same as PNG or SVG, as JSON, as CSV; `write`: all of them to disk
- `study_report`: what studies found, as plain data; `study_words`: its words and numbers
- `study_html`, `study_markdown`, `study_data`: that as a page, as text, as JSON and CSV;
  `study_write`: all of them to disk
- `attend`, `attend_files`: whom words attend to, as plain data; that as JSON, CSV or a picture
- `text_reader`, `own_text`, `hf_text`: text models of ours and of transformers
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
