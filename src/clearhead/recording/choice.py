"""Parts of a tensor by number: some images, some heads, some queries."""

from collections.abc import Sequence

from torch import Tensor

from clearhead.errors import ChoiceError

Choice = int | slice | Sequence[int] | None


def chosen(x: Tensor, *, images: Choice, heads: Choice, queries: Choice) -> Tensor:
    """The chosen part of `(*batch, heads, queries, …)`; an int keeps its axis, of size 1.

    Numbers count from 0, negative ones from the end. Raises `ChoiceError` for one that is not
    there.
    """
    if images is not None:
        x = x[_numbers(images, x.shape[0], "images")]
    if heads is not None:
        x = x[..., _numbers(heads, x.shape[-3], "heads"), :, :]
    if queries is not None:
        x = x[..., _numbers(queries, x.shape[-2], "queries"), :]
    return x


def _numbers(choice: int | slice | Sequence[int], count: int, what: str) -> slice | list[int]:
    if isinstance(choice, slice):
        return choice
    numbers = [choice] if isinstance(choice, int) else list(choice)
    for number in numbers:
        if not -count <= number < count:
            raise ChoiceError(f"there are {count} {what}, numbered 0 … {count - 1}; got {number}")
    return numbers
