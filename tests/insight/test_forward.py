from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.insight.forward import class_scores, probabilities

from .reference import oblong_images, oblong_model, plain_probabilities


def test_probabilities_are_the_softmax_of_the_logits_in_any_batch_size() -> None:
    model, images = oblong_model(), oblong_images(7)
    expected = plain_probabilities(model, images)
    for batch_size in (1, 3, 100):
        torch.testing.assert_close(probabilities(model, images, batch_size=batch_size), expected)
    result = probabilities(lambda x: SimpleNamespace(logits=model(x)), images)
    torch.testing.assert_close(result, expected)


def test_images_get_the_type_of_the_floats_of_a_module_also_inside_a_context() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(2310, 3))
    model.register_parameter("steps", nn.Parameter(torch.tensor(7), requires_grad=False))
    images = oblong_images(3)
    expected = model(images.float()).softmax(1).double()
    for around in (None, nullcontext):
        torch.testing.assert_close(probabilities(model, images, around=around), expected)


def test_a_module_runs_in_evaluation_mode_and_gets_its_modes_back() -> None:
    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dropout = nn.Dropout(0.9)
            self.linear = nn.Linear(5, 3)
            self.modes: list[bool] = []

        def forward(self, x: Tensor) -> Tensor:
            self.modes += [self.training, self.dropout.training, torch.is_grad_enabled()]
            out: Tensor = self.dropout(self.linear(x))
            return out

    model = Watched()
    model.linear.eval()
    probabilities(model, torch.randn(2, 5))
    assert model.modes == [False, False, False]
    assert (model.training, model.dropout.training, model.linear.training) == (True, True, False)


def test_each_batch_runs_in_its_own_context() -> None:
    events: list[str | int] = []

    @contextmanager
    def around() -> Iterator[None]:
        events.append("begin")
        yield
        events.append("end")

    def model(x: Tensor) -> Tensor:
        events.append(len(x))
        return x

    probabilities(model, torch.randn(7, 3), batch_size=3, around=around)
    assert events == ["begin", 3, "end", "begin", 3, "end", "begin", 1, "end"]


@pytest.mark.parametrize(
    "output", [torch.zeros(4), torch.zeros(4, 2, 3), torch.zeros(1, 2), "seven"]
)
def test_outputs_that_are_not_logits_are_refused(output: object) -> None:
    with pytest.raises(InputError, match="logits of shape"):
        probabilities(lambda x: output, torch.zeros(4, 3))


def test_nan_logits_no_images_and_empty_batches_are_refused() -> None:
    images = torch.tensor([[1.0, 2.0], [1.0, 3.0], [0.0, 1.0]])
    with pytest.raises(InputError, match="first for image 2"):
        probabilities(lambda x: x / x, images, batch_size=2)
    with pytest.raises(InputError, match="at least one image"):
        probabilities(nn.Linear(2, 2), images[:0])
    with pytest.raises(ConfigError, match="batch_size"):
        probabilities(nn.Linear(2, 2), images, batch_size=0)


def test_one_class_has_no_log_odds() -> None:
    with pytest.raises(InputError, match="log-odds need at least two classes"):
        class_scores(torch.zeros(2, 1), torch.zeros(2, dtype=torch.long), "log-odds")
