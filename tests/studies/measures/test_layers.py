import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from clearhead.attention import MultiHeadAttention
from clearhead.models import TextTransformer, build, load
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.layers import Mlp
from clearhead.models.vit import VisionTransformer
from clearhead.studies.measures.classifiers import training_digits, unseen_digits
from clearhead.studies.measures.layers import (
    effective_share,
    hub_share,
    layer_fields,
    layer_outputs,
    own_patch,
    probe_accuracies,
    ridge_accuracy,
    theoretical_share,
)
from clearhead.studies.measures.slopes import over_layers, per_doubling, slope
from clearhead.studies.measures.tasks import (
    FIRST_QUERY,
    NUM_WORDS,
    RECALL_MODEL,
    RecallTexts,
    recall_texts,
)

IMAGES = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def fields(model: VisionTransformer | ConvNet) -> tuple[torch.Tensor, ...]:
    return layer_fields(model, IMAGES, 1)


def vit() -> VisionTransformer:
    torch.manual_seed(2)
    return VisionTransformer(ViTConfig(embed_dim=8, num_heads=2, depth=2)).eval()


def zero_outputs(model: VisionTransformer, *kinds: type[nn.Module]) -> None:
    """The last linear maps of these modules give zeros: only the residual path is left."""
    for layer in model.modules():
        if isinstance(layer, kinds):
            *_, last = (x for x in layer.modules() if isinstance(x, nn.Linear))
            nn.init.zeros_(last.weight)


def test_theoretical_fields_of_convolutions_follow_from_their_kernels() -> None:
    torch.manual_seed(2)
    result = fields(ConvNet(CNNConfig(widths=(3, 4))).eval())
    sides = [round((784 * theoretical_share(field)) ** 0.5) for field in result]
    assert sides == [3, 5, 10, 14]  # 3, 5, then (after pooling) 6 + 2 · 2 and 4 more
    assert theoretical_share(result[0][13:16, 13:16]) == 1


def test_the_theoretical_field_of_one_attention_layer_is_the_whole_image() -> None:
    result = fields(vit())
    assert [theoretical_share(field) for field in result] == [1, 1]


def test_without_attention_the_field_of_a_token_is_its_own_patch() -> None:
    model = vit()
    zero_outputs(model, MultiHeadAttention)
    for field in fields(model):
        assert theoretical_share(field) == pytest.approx(1 / 16)
        assert theoretical_share(field[14:21, 14:21]) == 1
        assert 0 < effective_share(field) <= 1 / 16


def test_fields_are_root_mean_square_gradients() -> None:
    model = vit()
    zero_outputs(model, MultiHeadAttention, Mlp)
    weight = model.patch_embed.proj.weight.detach()
    result = fields(model)[0][14:21, 14:21]
    # a random direction r of the token w · pixels: the gradient is r · w, of variance |w|²
    expected = weight[:, 0].norm(dim=0)
    assert float((result / expected).mean()) == pytest.approx(1, abs=0.25)


def test_effective_fields_begin_at_a_twentieth_of_the_largest_gradient() -> None:
    field = torch.tensor([[1.0, 0.05], [0.04, 0.0]])
    assert effective_share(field) == 0.5
    assert theoretical_share(field) == 0.75


def test_the_effective_field_lies_in_the_own_patch_or_elsewhere() -> None:
    field = torch.full((28, 28), 0.03)
    field[14:21, 14:21] = 1.0
    assert own_patch({"first_field": field.tolist()}) == pytest.approx((1.0, 0.03))
    field[0, :7] = 0.5
    assert own_patch({"first_field": field.tolist()}) == (49 / 56, 0.5)


def test_a_ridge_probe_is_least_squares_with_a_penalty() -> None:
    generator = torch.Generator().manual_seed(1)
    x, unseen = (torch.randn(n, 5, generator=generator).double() for n in (80, 60))
    labels, expected = ((y[:, 0] + y[:, 1] > 0).long() + (y[:, 2] > 1) for y in (x, unseen))
    standard = [((y - x.mean(0)) / x.std(0)).numpy() for y in (x, unseen)]
    targets = np.eye(3)[labels.numpy()]
    rows = np.vstack([standard[0], np.sqrt(0.08) * np.eye(5)])
    columns = np.vstack([targets - targets.mean(0), np.zeros((5, 3))])
    weights = np.linalg.lstsq(rows, columns, rcond=None)[0]
    predicted = (standard[1] @ weights + targets.mean(0)).argmax(1)

    found = ridge_accuracy(x, labels, unseen, expected)

    assert found == pytest.approx(100 * np.mean(predicted == expected.numpy()))
    constant, others = (torch.cat([y, torch.ones(len(y), 1)], dim=1) for y in (x, unseen))
    assert ridge_accuracy(constant.double(), labels, others.double(), expected) == found


def test_a_hub_is_the_key_that_most_queries_attend_to_most() -> None:
    keys = torch.tensor([[[0, 0, 0, 1], [3, 1, 2, 0]]])  # of the queries of two heads
    weights = F.one_hot(keys, 4) * 0.6 + 0.1
    assert hub_share(weights) == pytest.approx((3 / 4 + 1 / 4) / 2)


@pytest.mark.usefixtures("mnist_train", "mnist_test")
def test_a_probe_predicts_the_class_from_the_tokens_of_the_layer() -> None:
    """After an identity block the tokens are the embeddings; the shipped model's last are not."""
    found = probe_accuracies(load(), training_digits(300, 1), unseen_digits(100, 1))
    assert len(found["single"]) == 6
    assert found["single"][0] < found["single"][-1] - 20


def test_probes_of_recall_are_fitted_on_the_tokens_of_the_queries() -> None:
    torch.manual_seed(0)
    model: TextTransformer = build(RECALL_MODEL).eval()
    texts = recall_texts("train", 200, 1), recall_texts("test", 50, 1)
    untrained = probe_accuracies(model, *texts)["single"]
    with torch.no_grad():  # the values themselves at the queries: a probe finds them
        model.embedded = lambda ids: values_at_queries(ids, texts)  # type: ignore[method-assign]
    assert max(untrained) < 40
    assert probe_accuracies(model, *texts)["single"] == pytest.approx([100.0, 100.0], abs=5)


def values_at_queries(ids: torch.Tensor, texts: tuple[RecallTexts, ...]) -> torch.Tensor:
    (answers,) = (x.answers for x in texts if x.ids is ids)
    x = torch.zeros(*ids.shape, 32)
    x[:, FIRST_QUERY:] = 30 * F.one_hot(answers - NUM_WORDS, 32).float()
    return x


def test_the_last_tokens_are_those_of_the_head() -> None:
    model = vit()
    *_, last = layer_outputs(model, IMAGES)
    torch.testing.assert_close(model.head(model.pooled(model.norm(last))), model(IMAGES))


def test_a_slope_is_that_of_least_squares() -> None:
    x, y = [1.0, 2.0, 4.0, 7.0], [3.0, 1.0, 4.0, 1.0]
    mean_x, mean_y = sum(x) / 4, sum(y) / 4
    covariance = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    assert slope(x, y) == pytest.approx(covariance / sum((a - mean_x) ** 2 for a in x))


@pytest.mark.parametrize("layers", [2, 3, 7])
def test_the_change_over_the_layers_is_from_the_first_to_the_last(layers: int) -> None:
    line = [5.0 + 3.0 * place / (layers - 1) for place in range(layers)]
    assert over_layers(("6", "distance"))({"6": {"distance": line}}) == pytest.approx(3.0)


def test_a_slope_over_sizes_is_for_each_doubling() -> None:
    values = {"16": {"x": 1.0}, "32": {"x": 3.0}, "128": {"x": 7.0}}
    assert per_doubling(lambda found: found["x"], (16, 32, 128))(values) == pytest.approx(2.0)
