"""What the tokens of a model are, said as data: patches of a grid, or words.

Nothing here is guessed from the number of tokens: 17 of them may be a class token and 4 × 4
patches, or a sentence. `grid_of` (in `grids`) asks the model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from clearhead.errors import ConfigError, InputError


@dataclass(frozen=True)
class Grid:
    """Patches in rows and columns, row by row, after `num_prefix_tokens` tokens of another kind.

    Such as a class token and registers: tokens that have a share in attention but no place in the
    image. Rows and columns are counted from 1 in names and in `token`.
    """

    rows: int
    columns: int
    num_prefix_tokens: int = 0
    prefix_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1 or self.num_prefix_tokens < 0:
            raise ConfigError(
                "a grid needs at least one row and one column and no negative num_prefix_tokens, "
                f"got {self.rows} × {self.columns} after {self.num_prefix_tokens}"
            )
        object.__setattr__(self, "prefix_names", tuple(self.prefix_names))
        if self.prefix_names and len(self.prefix_names) != self.num_prefix_tokens:
            raise ConfigError(
                f"prefix_names has {len(self.prefix_names)} names for {self.num_prefix_tokens} "
                "prefix tokens; give one name a token, or none"
            )

    @property
    def num_patches(self) -> int:
        """How many tokens are patches."""
        return self.rows * self.columns

    @property
    def num_tokens(self) -> int:
        """How many tokens there are, prefix tokens included."""
        return self.num_prefix_tokens + self.num_patches

    def names(self) -> tuple[str, ...]:
        """What each token is called: "class token", "patch at row 1, column 2"."""
        plain = (f"prefix token {place}" for place in range(1, self.num_prefix_tokens + 1))
        places = ((row, column) for row in range(self.rows) for column in range(self.columns))
        return (
            *(self.prefix_names or plain),
            *(f"patch at row {row + 1}, column {column + 1}" for row, column in places),
        )

    def token(self, row: int, column: int) -> int:
        """The place of a patch among the tokens; rows and columns from 1, as in its name."""
        if not (1 <= row <= self.rows and 1 <= column <= self.columns):
            raise InputError(
                f"no patch at row {row}, column {column}; "
                f"there are {self.rows} rows and {self.columns} columns, counted from 1"
            )
        return self.num_prefix_tokens + (row - 1) * self.columns + column - 1

    def fold(self, x: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch rows columns"]:
        """The numbers of the patches, laid out as the patches are; `prefix` gives the others."""
        check_tokens(self, x.shape[-1])
        patches: Tensor = x[..., self.num_prefix_tokens :]
        folded: Tensor = patches.unflatten(-1, (self.rows, self.columns))
        return folded

    def prefix(self, x: Float[Tensor, "*batch tokens"]) -> Float[Tensor, "*batch prefix"]:
        """The numbers of the tokens before the first patch."""
        check_tokens(self, x.shape[-1])
        return x[..., : self.num_prefix_tokens]


@dataclass(frozen=True)
class Words:
    """The tokens of a text, in order: to measures of distance they are a grid of one row."""

    tokens: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.tokens, str):
            raise ConfigError(
                f"Words needs a sequence of tokens, got one string {self.tokens!r}; "
                "split it as the model's tokenizer does"
            )
        object.__setattr__(self, "tokens", tuple(self.tokens))
        if not self.tokens:
            raise ConfigError("Words needs at least one token, got none")

    rows = 1
    num_prefix_tokens = 0

    @property
    def columns(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    @property
    def num_patches(self) -> int:
        """How many tokens have a place in the text: all."""
        return len(self.tokens)

    @property
    def num_tokens(self) -> int:
        """How many tokens there are."""
        return len(self.tokens)

    def names(self) -> tuple[str, ...]:
        """The tokens themselves."""
        return self.tokens


Tokens: TypeAlias = Grid | Words


def coordinates(tokens: Tokens) -> Float[Tensor, "patches 2"]:
    """Row and column of every patch (or word), from 0, in patches."""
    rows, columns = torch.arange(tokens.rows), torch.arange(tokens.columns)
    return torch.cartesian_prod(rows, columns).reshape(-1, 2).double()


def check_tokens(tokens: Tokens, count: int, what: str = "") -> None:
    """Raise `InputError` unless there are as many tokens as `tokens` says."""
    if count == tokens.num_tokens:
        return
    where = f"{what}: " if what else ""
    raise InputError(
        f"{where}expected {_described(tokens)}, got {count} tokens; give the tokens of this layer "
        "(a layer that attends in windows, or after pooling, has others), or choose other layers"
    )


def words_of(tokenizer: object, ids: Sequence[int] | Tensor) -> Words:
    """The tokens of a text as a Hugging Face tokenizer writes them."""
    convert = getattr(tokenizer, "convert_ids_to_tokens", None)
    if convert is None:
        raise ConfigError(
            f"{type(tokenizer).__name__} has no convert_ids_to_tokens; give Words((...)) by hand"
        )
    return Words(tuple(convert(list(map(int, ids)))))


def _described(tokens: Tokens) -> str:
    if isinstance(tokens, Words):
        return f"{tokens.num_tokens} words"
    prefix = f"{tokens.num_prefix_tokens} + " if tokens.num_prefix_tokens else ""
    return f"{prefix}{tokens.rows} × {tokens.columns} = {tokens.num_tokens} tokens"
