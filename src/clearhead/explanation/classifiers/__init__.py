"""Models of ours and of two libraries, with all that is needed to show them a picture.

- `reader`: what a reader is; `named`: from what a person calls a model to its reader
- `own`, `timm`, `hf`: readers of ours, of timm's and of transformers' models
- `folders`: whose model a folder holds
- `libraries`, `photos`: importing what may not be installed; pictures in colour, in and out
"""
