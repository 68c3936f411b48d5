"""Naming the parts of a model's attention, and refusing those that are not there."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clearhead.attention import MultiHeadAttention
from clearhead.errors import CaptureError, ConfigError, InputError, NothingCapturedError
from clearhead.insight.ablation.parts import (
    Part,
    Sizes,
    attention_sizes,
    check_parts,
    every_head,
    every_layer,
    every_patch,
)
from clearhead.insight.tokens import Grid
from clearhead.recording._capture import capture

from ..plain_forward import oblong_images, oblong_model

SIZES = {"first": Sizes(heads=2, keys=15), "second": Sizes(heads=3, keys=17)}


class Twice(nn.Module):
    """One attention, called twice, and a number of classes from the mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attn = MultiHeadAttention(10, 5)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.attn(tokens + self.attn(tokens)).mean(1))
        return logits


def test_heads_and_layers_are_those_that_a_capture_sees() -> None:
    model, images = oblong_model(), oblong_images(2)
    names = ["blocks.0.attn", "blocks.1.attn", "blocks.2.attn"]
    expected = [Part(layer=name, head=head) for name in names for head in (0, 1)]
    assert every_head(model, images) == tuple(expected)
    assert every_layer(model, images) == tuple(Part(layer=name) for name in names)
    assert attention_sizes(model, images)["blocks.2.attn"] == Sizes(heads=2, keys=15)


def test_patches_are_counted_over_the_whole_grid() -> None:
    expected = tuple(Part(layer="x", patch=patch) for patch in range(6))
    assert every_patch(Grid(2, 3, 1), "x") == expected


def test_later_calls_of_one_module_are_named_as_capture_names_them() -> None:
    model, tokens = Twice(), torch.randn(2, 7, 10)
    with capture() as seen:
        model(tokens)
    assert tuple(attention_sizes(model, tokens)) == seen.names == ("attn", "attn#2")


def test_a_model_without_attention_has_no_parts() -> None:
    with pytest.raises(NothingCapturedError, match="no attention function passed"):
        every_head(nn.Linear(3, 2), torch.zeros(1, 3))


@pytest.mark.parametrize(
    ("part", "grid", "error", "message"),
    [
        (Part(layer="third"), None, CaptureError, "there is first, second"),
        (Part(layer="first", head=2), None, InputError, "first has 2 heads"),
        (Part(head=2), None, InputError, "first has 2 heads"),
        (Part(layer="first", patch=0), None, ConfigError, "grid="),
        (Part(layer="first", patch=15), Grid(5, 3), InputError, "patch 15"),
        (Part(patch=3), Grid(5, 3), InputError, "second"),
    ],
)
def test_a_part_that_is_not_there_is_refused(
    part: Part, grid: Grid | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        check_parts([Part(layer="second", head=2), part], SIZES, grid)


def test_parts_that_are_there_pass() -> None:
    parts = [Part(), Part(head=1), Part(layer="second", head=2), Part(layer="first", patch=14)]
    check_parts(parts, SIZES, Grid(5, 3))


@pytest.mark.parametrize("numbers", [{"head": -1}, {"patch": -3}])
def test_numbers_start_at_zero(numbers: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="at least 0"):
        Part(**numbers)


def test_a_part_says_what_it_is() -> None:
    assert str(Part()) == "all heads of all layers"
    assert str(Part(layer="blocks.1.attn", head=3)) == "head 3 of blocks.1.attn"
    assert str(Part(patch=5)) == "patch 5 in all heads of all layers"
