"""Where the pictures of a job are classified: in processes of this machine, or on Ray.

A unit of work is some consecutive pictures, each a line of `PictureRef.to_line`; its result is a
line of JSON for each, with an error if the picture cannot be read, or crashes the process that
reads it. Results have the order of the units. The model is sent there as a `ModelCopy`.
"""

import json
import logging
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from multiprocessing import current_process
from typing import Any, Literal

import torch
from safetensors.torch import load as read_tensors

from clearhead._processes import ray_cluster
from clearhead.data import ImageSource, PictureReader, PictureRef
from clearhead.errors import ClearheadError, ImageError
from clearhead.inference._model import ModelLike, digest_of, weights_of, with_engine
from clearhead.inference._names import EngineChoice
from clearhead.inference._parallel import PROCESS_ENDED, Pool
from clearhead.inference._predict import predict_each
from clearhead.inference._prediction import Prediction
from clearhead.models.pretrained import ImageModel

RunnerName = Literal["local", "ray"]
Units = Iterator[list[bytes]]
"""Lines of pictures, or of their rows"""

RAY_BLOCKS = 1000  # at most; a block is repeated if its actor ends


class ModelCopy:
    """A model as bytes, which can be sent to another process and loaded there.

    torch itself would send each tensor through shared memory, in a file of its own.

    Args:
        model: The model.
        engine: The engine that `load` prepares.
    """

    def __init__(self, model: ImageModel, engine: EngineChoice = "torch") -> None:
        self.engine = engine
        self.kind = type(model)
        self.config = model.config
        self.device: torch.device = next(model.parameters()).device
        self.weights = weights_of(model)
        self.digest = digest_of(model, self.weights)
        """SHA-256 of class, configuration and weights, in hexadecimal"""

    def load(self) -> ModelLike:
        """A new model, in evaluation mode, with the engine.

        Returns:
            The model or, with an engine other than torch, an `EngineModel`.
        """
        with torch.random.fork_rng(devices=[]):  # the weights drawn here are replaced
            model = self.kind(self.config)
        model.load_state_dict(read_tensors(self.weights), assign=True)
        return with_engine(model.to(self.device).eval(), self.engine)


def predict_listed(
    model: ModelLike,
    refs: Iterable[PictureRef],
    read: Callable[[PictureRef], ImageSource],
    *,
    single: bool = False,
    num_workers: int | None = None,
) -> Iterator[Prediction | ImageError]:
    """As `predict_each`, for listed pictures: one that `read` cannot read gives its `ImageError`.

    Args:
        model: As in `predict_each`.
        refs: From `list_pictures`.
        read: Reads a listed picture, such as a `PictureReader`.
        single: As in `predict_each`.
        num_workers: As in `predict_each`.

    Returns:
        An iterator over a prediction or an error for each picture, in order.
    """

    def source(ref: PictureRef) -> ImageSource | ImageError:
        try:
            return read(ref)
        except ImageError as error:
            return error

    return predict_each(model, map(source, refs), single=single, num_workers=num_workers)


class Classifier:
    """Makes the rows of a unit with a copy of a model; it can be sent to another process."""

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

    def __call__(self, lines: list[bytes]) -> list[bytes]:
        """The rows for some pictures, in their order; of one that fails, with the error."""
        if self.model is None:
            self.model = self.copy.load()
        refs = [PictureRef.from_line(line) for line in lines]
        results = predict_listed(self.model, refs, self.reader, single=self.single, num_workers=0)
        try:
            return [row_of(ref, x) for ref, x in zip(refs, results, strict=True)]
        except Exception as error:  # noqa: BLE001 - whichever picture it was has it as its row's error
            if len(lines) == 1:
                return [row_of(refs[0], error)]
            return [row for line in lines for row in self([line])]


def row_of(ref: PictureRef, result: Prediction | Exception) -> bytes:
    """The row of a picture: its prediction, or why it has none."""
    row: dict[str, Any] = {"image": printable(ref.name)}
    if isinstance(result, Prediction):
        row |= result.to_dict()
    else:
        reason = " ".join(str(result).split()).removeprefix(f"{ref.path}: ")
        known = isinstance(result, ClearheadError)
        row["error"] = printable(reason if known else f"{type(result).__name__}: {reason}")
    return json.dumps(row, allow_nan=False).encode() + b"\n"


def printable(text: str) -> str:
    r"""A file name as text: bytes that are not UTF-8 as `\xNN`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def run(units: Units, classifier: Classifier, runner: RunnerName, num_workers: int | None) -> Units:
    """The rows of units, in their order; a picture that ends its process has an error."""
    from joblib import cpu_count

    may_start = not current_process().daemon  # else it may not have processes of its own
    if num_workers == 0 or (runner == "local" and not may_start):
        yield from map(classifier, units)
    elif runner == "ray":
        yield from _run_on_ray(units, classifier, num_workers, cpu_count())
    else:
        with Pool(classifier, num_workers or cpu_count()) as pool:
            yield from pool.map(units, _ended)


def _ended(line: bytes) -> bytes:
    return row_of(PictureRef.from_line(line), ImageError(PROCESS_ENDED))


def _run_on_ray(
    units: Units, classifier: Classifier, workers: int | None, local_workers: int
) -> Units:
    """Units on a Ray cluster, by Ray Data; those whose actor ended twice, here one by one."""
    with ray_cluster(local_workers):
        import ray
        from ray.data import ActorPoolStrategy, DataContext

        context = DataContext.get_current()
        context.execution_options.preserve_order = True
        context.max_errored_blocks = -1
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        items: list[dict[str, Any]] = [
            {"number": number, "lines": zlib.compress(b"".join(unit))}
            for number, unit in enumerate(units)
        ]
        if not items:
            return
        actors = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), RAY_BLOCKS)).map(
            _RayClassifier,
            fn_constructor_args=(classifier,),
            compute=ActorPoolStrategy(min_size=1, max_size=actors),
            max_task_retries=1,
        )
        end = {"number": len(items), "rows": b""}
        done = 0
        with Pool(classifier, 1) as pool:
            for row in chain(rows.iter_rows(), [end]):
                for item in items[done : row["number"]]:  # its actor ended twice
                    yield pool.one_by_one(_lines_of(item), _ended)
                yield row["rows"].splitlines(keepends=True)
                done = row["number"] + 1


def _lines_of(item: dict[str, Any]) -> list[bytes]:
    return zlib.decompress(item["lines"]).splitlines(keepends=True)


class _RayClassifier:
    """A classifier as an actor of Ray Data."""

    def __init__(self, classifier: Classifier) -> None:
        torch.set_num_threads(1)
        self.classifier = classifier

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        return {"number": item["number"], "rows": b"".join(self.classifier(_lines_of(item)))}
