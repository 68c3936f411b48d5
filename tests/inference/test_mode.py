"""Evaluation mode, and back."""

import pytest
from torch import nn

from clearhead.inference.mode import evaluation_mode


def mixed() -> nn.Sequential:
    """The whole and its first part in training, the second not."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 2))
    model[1].eval()
    return model


def test_all_parts_are_in_evaluation_mode_and_get_their_own_back() -> None:
    model = mixed()
    with evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert [part.training for part in model.modules()] == [True, True, False]


def test_modes_come_back_after_an_error() -> None:
    model = mixed()
    with pytest.raises(ZeroDivisionError), evaluation_mode(model):
        raise ZeroDivisionError
    assert [part.training for part in model.modules()] == [True, True, False]


def test_what_is_no_module_has_no_mode() -> None:
    with evaluation_mode(len):
        answer = len("seven")
    assert answer == 5
