"""Where the pictures of a job are classified: in processes of this machine, or on Ray.

A unit of work is some consecutive pictures; its result is one line of JSON for each. A picture that
cannot be read, or ends the process that reads it, gives a line with an error.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch

from clearhead._processes import exit_with_parent
from clearhead._ray import ray_cluster
from clearhead.data import ImageSource, PictureReader, PictureRef
from clearhead.errors import ClearheadError, ImageError
from clearhead.inference._copy import ModelCopy
from clearhead.inference._names import EngineChoice
from clearhead.inference._predict import Prediction, predict_each
from clearhead.models.pretrained import ImageModel

if TYPE_CHECKING:
    from clearhead.inference._engines import ModelLike

RunnerName = Literal["local", "ray"]
UNITS_AHEAD = 2  # per process
RAY_BLOCKS = 1000  # at most; a block is repeated if its actor ends
PROCESS_ENDED = "the process that read this picture ended; is the picture damaged, or memory full?"


def predict_listed(
    model: "ModelLike",
    refs: Iterable[PictureRef],
    read: Callable[[PictureRef], ImageSource],
    *,
    single: bool = False,
    num_workers: int | None = None,
) -> Iterator[Prediction | ImageError]:
    """As `predict_each`, for listed pictures: those that `read` cannot read give its error."""
    errors: dict[int, ImageError] = {}

    def sources() -> Iterator[ImageSource]:
        for place, ref in enumerate(refs):
            try:
                yield read(ref)
            except ImageError as error:
                errors[place] = error
                yield b""  # gives an error in its place

    results = predict_each(model, sources(), single=single, num_workers=num_workers)
    for place, result in enumerate(results):
        yield errors.pop(place, result)


class Unit(NamedTuple):
    """Consecutive pictures, each a line of `PictureRef.to_line`."""

    number: int
    lines: bytes

    def singles(self) -> Iterator["Unit"]:
        """Each picture as a unit of its own."""
        return (Unit(self.number, line) for line in self.lines.splitlines(keepends=True))


Result: TypeAlias = tuple[int, bytes]
"""The number of a unit, and its rows"""


class Classifier:
    """Makes the rows of a unit; it can be sent to another process.

    Args:
        model: The model, of which a copy is used.
        single: As in `predict`.
        image_column: As in `list_pictures`.
        engine: As in `predict`.
    """

    def __init__(
        self,
        model: ImageModel,
        *,
        single: bool,
        image_column: str | None,
        engine: EngineChoice = "torch",
    ) -> None:
        self.copy = ModelCopy(model, engine)
        self.single = single
        self.image_column = image_column
        self.model: ModelLike | None = None
        self.reader = PictureReader(image_column)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"model": None, "reader": PictureReader(self.image_column)}

    def __call__(self, lines: bytes) -> bytes:
        """The rows for some pictures, in their order."""
        if self.model is None:
            self.model = self.copy.load()
        refs = [PictureRef.from_line(line) for line in lines.splitlines()]
        try:
            rows = self._rows(refs, self.model)
        except Exception:  # noqa: BLE001 - whichever picture it was has it as its row's error
            rows = [row for ref in refs for row in self._row_alone(ref, self.model)]
        return b"".join(json.dumps(row, allow_nan=False).encode() + b"\n" for row in rows)

    def _rows(self, refs: list[PictureRef], model: "ModelLike") -> list[dict[str, Any]]:
        results = predict_listed(model, refs, self.reader, single=self.single, num_workers=0)
        return [_row(ref, result) for ref, result in zip(refs, results, strict=True)]

    def _row_alone(self, ref: PictureRef, model: "ModelLike") -> list[dict[str, Any]]:
        try:
            return self._rows([ref], model)
        except Exception as error:  # noqa: BLE001
            return [error_row(ref, error)]


def _row(ref: PictureRef, result: Prediction | ImageError) -> dict[str, Any]:
    if isinstance(result, ImageError):
        return error_row(ref, result)
    return {"image": printable(ref.name), **result.to_dict()}


def error_row(ref: PictureRef, error: Exception | str) -> dict[str, Any]:
    """The row of a picture without a prediction."""
    reason = " ".join(str(error).split()).removeprefix(f"{ref.path}: ")
    if isinstance(error, Exception) and not isinstance(error, ClearheadError):
        reason = f"{type(error).__name__}: {reason}"
    return {"image": printable(ref.name), "error": printable(reason)}


def printable(text: str) -> str:
    r"""A file name as text: bytes that are not UTF-8 as `\xNN`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def run_here(units: Iterator[Unit], classifier: Classifier) -> Iterator[Result]:
    """One unit after the other in this process."""
    for unit in units:
        yield unit.number, classifier(unit.lines)


def run_in_processes(
    units: Iterator[Unit], classifier: Classifier, workers: int
) -> Iterator[Result]:
    """Units in parallel, as they are completed.

    If a process dies, the pictures of all units that may have been its are read one by one, so that
    only the one to blame is without a prediction.
    """
    if current_process().daemon:  # it may not have processes of its own
        yield from run_here(units, classifier)
        return
    pool = _Pool(classifier, workers)
    waiting: dict[Future[bytes], Unit] = {}
    try:
        while True:
            while len(waiting) < UNITS_AHEAD * workers and (unit := next(units, None)) is not None:
                waiting[pool.submit(unit)] = unit
            if not waiting:
                return
            completed, _ = wait(waiting, return_when=FIRST_COMPLETED)
            if any(isinstance(future.exception(), BrokenExecutor) for future in completed):
                wait(waiting)
                suspects, waiting = waiting, {}
                pool.restart()
                for future, unit in suspects.items():
                    broken = isinstance(future.exception(), BrokenExecutor)
                    yield unit.number, _one_by_one(unit, pool) if broken else future.result()
                continue
            for future in completed:
                yield waiting.pop(future).number, future.result()
    finally:
        pool.shutdown()


def _one_by_one(unit: Unit, pool: "_Pool") -> bytes:
    """The rows of a unit that ended a process."""
    rows = []
    for single in unit.singles():
        try:
            rows.append(pool.submit(single).result())
        except BrokenExecutor:
            pool.restart()
            row = error_row(PictureRef.from_line(single.lines), PROCESS_ENDED)
            rows.append(json.dumps(row).encode() + b"\n")
    return b"".join(rows)


class _Pool:
    """Processes that each have the model and one thread."""

    def __init__(self, classifier: Classifier, workers: int) -> None:
        self.classifier = classifier
        self.workers = workers
        self.restart()

    def restart(self) -> None:
        # Unlike those of the standard library, these processes do not import the script that is
        # running, which may lack a guard.
        from joblib.externals.loky import ProcessPoolExecutor

        self.executor = ProcessPoolExecutor(
            self.workers, initializer=_start, initargs=(self.classifier,)
        )

    def submit(self, unit: Unit) -> Future[bytes]:
        future: Future[bytes] = self.executor.submit(_classify, unit.lines)
        return future

    def shutdown(self) -> None:
        self.executor.shutdown(kill_workers=True)


_classifiers: list[Classifier] = []


def _start(classifier: Classifier) -> None:
    """In a new process."""
    exit_with_parent()
    torch.set_num_threads(1)
    _classifiers[:] = [classifier]


def _classify(lines: bytes) -> bytes:
    return _classifiers[0](lines)


def run_on_ray(
    units: Iterator[Unit], classifier: Classifier, workers: int | None, local_workers: int
) -> Iterator[Result]:
    """Units on a Ray cluster, by Ray Data, as they are completed; none if its actor ended twice."""
    with ray_cluster(local_workers):
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.max_errored_blocks = -1
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        items = [{"number": unit.number, "lines": zlib.compress(unit.lines)} for unit in units]
        if not items:
            return
        actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), RAY_BLOCKS)).map(
            _RayClassifier,  # type: ignore[arg-type] # a class whose instances are such functions
            fn_constructor_args=(classifier,),
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
            max_task_retries=1,
        )
        for row in rows.iter_rows():
            yield row["number"], row["rows"]


def run_one_by_one(units: Iterator[Unit], classifier: Classifier) -> Iterator[Result]:
    """Units that may end a process, in one process of this machine."""
    pool = _Pool(classifier, 1)
    try:
        for unit in units:
            yield unit.number, _one_by_one(unit, pool)
    finally:
        pool.shutdown()


class _RayClassifier:
    """A classifier as an actor of Ray Data."""

    def __init__(self, classifier: Classifier) -> None:
        torch.set_num_threads(1)
        self.classifier = classifier

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"number": item["number"], "rows": self.classifier(zlib.decompress(item["lines"]))}
