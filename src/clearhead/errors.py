"""Every error that Clearhead raises on purpose.

```
ClearheadError
├── ConfigError          a setting that cannot work, or an unknown key in a saved one
├── InputError           tensors of the wrong shape, type or content
├── ImageError           a picture that cannot be read as an image
├── DataError            a data set that cannot be used
│   ├── FetchError       no source gave it
│   └── CorruptDataError its bytes are not what they should be
├── StorageError         a file could not be written or read (disk full, no permission)
├── CheckpointError      saved weights or training state that are missing or damaged
├── ChoiceError          the number of an image, head or query that is not there
├── CaptureError         attention that cannot be looked into
│   ├── NothingCapturedError    no attention ran where one was expected
│   └── UnfaithfulCaptureError  what was captured is not what the model computed
└── DivergenceError      training ran into NaN or infinity
```

Each message is one line: what was expected, what came, what to do.
"""

from collections.abc import Iterable


class ClearheadError(Exception):
    """The root: `except ClearheadError` catches all of them and nothing else."""


class ConfigError(ClearheadError, ValueError):
    """A setting that cannot work."""


class InputError(ClearheadError, ValueError, RuntimeError):
    """Tensors of the wrong shape, type or content.

    Also a `RuntimeError`, because torch raises that one where our functions stand in for torch's.
    """


class ImageError(ClearheadError, ValueError):
    """A picture that cannot be read as an image."""


class DataError(ClearheadError):
    """A data set that cannot be used."""


class FetchError(DataError):
    """No source gave the data set; the message names all that was tried."""


class CorruptDataError(DataError, ValueError):
    """The bytes of a data file are not what they should be."""


class StorageError(ClearheadError, OSError):
    """A file could not be written or read."""


class CheckpointError(ClearheadError):
    """Saved weights or a saved training state that are missing or damaged."""


class ChoiceError(ClearheadError, IndexError):
    """The number of an image, a head or a query that is not there."""


class CaptureError(ClearheadError, RuntimeError):
    """Attention that cannot be looked into; the message names the way out."""


class NothingCapturedError(CaptureError):
    """No attention ran where one was expected."""


class UnfaithfulCaptureError(CaptureError):
    """What was captured is not what the model computed; the message gives figures."""


class DivergenceError(ClearheadError, ArithmeticError):
    """The loss became NaN or infinite."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the known one that is near, or nothing."""
    import difflib

    nearest = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""
