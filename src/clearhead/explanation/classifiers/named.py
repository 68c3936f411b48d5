"""From what a person calls a model to a reader of pictures."""

from pathlib import Path

from clearhead.errors import ConfigError
from clearhead.explanation.classifiers.reader import Reader

TIMM, HF = "timm:", "hf:"


def open_reader(source: str | Path = "digits") -> Reader:
    """The model with this name, ready to be shown pictures.

    - "digits", a saved folder, or OWNER/NAME on the Hugging Face hub: one of ours
    - "timm:NAME", or "timm:FOLDER" as timm saves it: `timm.create_model(NAME, pretrained=True)`
    - "hf:FOLDER" or "hf:OWNER/NAME": an image classifier of transformers

    Raises `ConfigError` if a library is missing, and `CheckpointError` if the weights are.
    """
    name = str(source)
    if name in (TIMM, HF):
        raise ConfigError(
            f"{name} names no model; give {TIMM}vit_tiny_patch16_224, {HF}OWNER/NAME or a folder"
        )
    if name.startswith(TIMM):
        from clearhead.explanation.classifiers.timm import open_timm

        return open_timm(name.removeprefix(TIMM))
    if name.startswith(HF):
        from clearhead.explanation.classifiers.hf import open_hf

        return open_hf(name.removeprefix(HF))
    from clearhead.explanation.classifiers.own import open_own

    return open_own(name)
