"""What one forward pass does: pictures in, answers and attention out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.inference import ModelInput, Prediction, predict_inputs
from clearhead.models.pretrained import ImageModel
from clearhead.serve.attention import AttentionOf

Attention = Float[Tensor, "layers batch heads queries keys"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Work:
    """The pictures of one request, and whether their attention is wanted too."""

    pictures: tuple[ModelInput, ...]
    explain: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Done:
    """The answers to one request."""

    predictions: tuple[Prediction, ...]
    attention: Attention | None = None


Run = Callable[[Sequence[Work]], list[Done | Exception]]


def worker(model: ImageModel, attention_of: AttentionOf) -> Run:
    """A function that does a batch of work; what fails there is done one by one.

    So an image that breaks the forward pass breaks no answer but its own.
    """

    def run(batch: Sequence[Work]) -> list[Done | Exception]:
        try:
            return list(_do(model, attention_of, batch))
        except Exception as error:  # noqa: BLE001 - told to the request that it belongs to
            if len(batch) == 1:
                return [error]
            return [done for work in batch for done in run([work])]

    return run


def _do(model: ImageModel, attention_of: AttentionOf, batch: Sequence[Work]) -> list[Done]:
    predictions = iter(
        predict_inputs(model, [picture for work in batch for picture in work.pictures])
    )
    explained = [picture for work in batch if work.explain for picture in work.pictures]
    attention = (
        attention_of(model, torch.stack([picture.pixels for picture in explained]))
        if explained
        else None
    )
    done, first = [], 0
    for work in batch:
        answers = tuple(next(predictions) for _ in work.pictures)
        part = None
        if work.explain and attention is not None:
            part = attention[:, first : first + len(work.pictures)]
            first += len(work.pictures)
        done.append(Done(predictions=answers, attention=part))
    return done
