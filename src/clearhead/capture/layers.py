"""Which attentions a capture keeps: by name, by pattern, by place."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from clearhead.errors import CaptureError

Layers = str | int | Sequence[str | int] | None


class Selection:
    """Names, shell patterns and indices; None keeps everything.

    Indices count the attentions in the order of their first calls; negative ones count from the
    last, which is known only at the end, so that until then all are kept.
    """

    def __init__(self, layers: Layers) -> None:
        chosen = [layers] if isinstance(layers, str | int) else layers
        self._everything = chosen is None
        self._patterns = [x for x in chosen or () if isinstance(x, str)]
        self._indices = [x for x in chosen or () if isinstance(x, int)]
        self._waits = any(index < 0 for index in self._indices)
        self.seen: dict[str, None] = {}

    def wants(self, name: str) -> bool:
        """Whether to keep it, as far as is known now."""
        base, _, _ = name.partition("#")
        self.seen.setdefault(base)
        if self._everything or self._waits:
            return True
        return self._matches(name, list(self.seen).index(base))

    def keeps(self, name: str) -> bool:
        """Whether to keep it, now that all are known."""
        base, _, _ = name.partition("#")
        order = list(self.seen)
        place = order.index(base)
        return (
            self._everything
            or self._matches(name, place)
            or self._matches(name, place - len(order))
        )

    def check(self) -> None:
        """Raise `CaptureError` for a choice that chose nothing."""
        names = list(self.seen)
        for pattern in self._patterns:
            if not any(_fits(name, pattern) for name in names):
                raise CaptureError(
                    f"layers={pattern!r} fits no attention; there were {', '.join(names)}"
                )
        for index in self._indices:
            if not -len(names) <= index < len(names):
                raise CaptureError(
                    f"layers={index} is out of range; there were {len(names)} attentions"
                )

    def _matches(self, name: str, place: int) -> bool:
        return place in self._indices or any(_fits(name, pattern) for pattern in self._patterns)


def _fits(name: str, pattern: str) -> bool:
    base, _, _ = name.partition("#")
    return fnmatchcase(name, pattern) or fnmatchcase(base, pattern)
