"""Where requests wait that find no place: a moment, since one is often free just then.

Who is refused at once comes again at once, and a thousand such clients leave no time for work. Held
back for a moment they ask less often, and places that become free are filled without a round trip.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from clearhead.serve.admission import Admission

MOMENT = 0.035  # seconds: with what sending takes, a refusal is there within 50 ms
TOGETHER = 0.005  # seconds: those who must go so soon go now, in one go


@dataclass(eq=False)
class Waiting:
    """A request that waits: what lets it in, what refuses it, and when the latter is due."""

    admit: Callable[[], None]
    refuse: Callable[[], None]
    until: float


class WaitingRoom:
    """First come, first let in; on the event loop alone."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.waiting: dict[Waiting, None] = {}
        self.timer: asyncio.TimerHandle | None = None
        admission.when_free = self._admit_next

    def enter(self, admit: Callable[[], None], refuse: Callable[[], None]) -> Waiting:
        """Wait for a place: exactly one of the two is called, unless the caller leaves before."""
        loop = asyncio.get_running_loop()
        one = Waiting(admit, refuse, loop.time() + MOMENT)
        self.waiting[one] = None
        if self.timer is None:
            self.timer = loop.call_later(MOMENT, self._refuse_due)
        return one

    def leave(self, one: Waiting) -> None:
        """The client has gone."""
        self.waiting.pop(one, None)

    def _admit_next(self) -> None:
        if self.waiting and not self.admission.is_full:
            one = next(iter(self.waiting))
            del self.waiting[one]
            one.admit()

    def _refuse_due(self) -> None:
        self.timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = [one for one in self.waiting if one.until <= now + TOGETHER]
        for one in due:
            del self.waiting[one]
            one.refuse()
        if self.waiting:
            oldest = next(iter(self.waiting))
            self.timer = loop.call_at(oldest.until, self._refuse_due)
