"""Which attentions a capture keeps: by name, by pattern, by place."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from clearhead.errors import CaptureError, ConfigError

Layers = str | int | Sequence[str | int] | None


class Selection:
    """Names, shell patterns and indices; None keeps everything.

    Indices count calls, in their order; negative ones count from the last, which is known only at
    the end, so that until then all are kept. `names` are those of the calls so far.
    """

    def __init__(self, layers: Layers) -> None:
        chosen = [layers] if isinstance(layers, str | int) else layers
        _check(chosen)
        self._everything = chosen is None
        self._patterns = [x for x in chosen or () if isinstance(x, str)]
        self._indices = [x for x in chosen or () if isinstance(x, int)]
        self.waits = any(index < 0 for index in self._indices)
        self.names: list[str] = []

    def wants(self, name: str) -> bool:
        """Whether to keep the call that comes now, as far as is known."""
        self.names.append(name)
        return self._everything or self.waits or self._chooses(name, len(self.names) - 1)

    def keeps(self, name: str) -> bool:
        """Whether to keep a call, now that all are known."""
        place = self.names.index(name)
        return self._everything or any(
            self._chooses(name, number) for number in (place, place - len(self.names))
        )

    def check(self) -> None:
        """Raise `CaptureError` for a choice that chose nothing."""
        count, names = len(self.names), ", ".join(self.names)
        for pattern in self._patterns:
            if not any(_fits(name, pattern) for name in self.names):
                raise CaptureError(f"layers={pattern!r} fits no attention; there were {names}")
        for index in self._indices:
            if not -count <= index < count:
                raise CaptureError(
                    f"layers={index} is out of range; there were {count} attentions: {names}"
                )

    def _chooses(self, name: str, place: int) -> bool:
        return place in self._indices or any(_fits(name, pattern) for pattern in self._patterns)


def _check(chosen: Sequence[str | int] | None) -> None:
    if chosen is None:
        return
    parts = list(chosen) if isinstance(chosen, Sequence) else [chosen]
    wrong = [x for x in parts if isinstance(x, bool) or not isinstance(x, str | int)]
    if wrong or not parts:
        raise ConfigError(
            f"layers takes names, patterns and indices, at least one, got {chosen!r}; leave it out "
            "to keep every layer"
        )


def _fits(name: str, pattern: str) -> bool:
    base, _, _ = name.partition("#")
    return fnmatchcase(name, pattern) or fnmatchcase(base, pattern)
