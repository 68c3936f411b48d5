"""Rollout and relevance, compared with the papers written out in loops and with autograd."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clearhead.errors import ConfigError, InputError
from clearhead.insight.propagation import HeadFusion, read_out, rollout
from clearhead.insight.relevance import class_relevance, relevance_of
from clearhead.recording import capture

from .reference import bert, oblong_images, oblong_model, plain_logits

TARGETS = torch.tensor([3, 0, 10, 3, 7])


def random_layers(layers: int = 3, tokens: int = 7, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (5, 2, tokens, tokens)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).mul(2).softmax(dim=-1)
        for _ in range(layers)
    ]


def plain_rollout(
    layers: list[Tensor], residual: float, fusion: str, discard_ratio: float
) -> np.ndarray:
    """As in jacobgil/vit-explain, whose residual is 0.5, with rows that sum to 1."""
    result = np.empty((5, 7, 7))
    for image in range(5):
        product = np.eye(7)
        for layer in layers:
            fused = getattr(np, fusion)(layer[image].numpy(), axis=0)
            flat = fused.flatten()
            for place in np.argsort(flat, kind="stable")[: int(49 * discard_ratio)]:
                if place != 0:
                    flat[place] = 0.0
            step = residual * np.eye(7) + (1 - residual) * flat.reshape(7, 7)
            for query in range(7):
                total = step[query].sum()
                step[query] = step[query] / total if total > 0 else np.eye(7)[query]
            product = step @ product
        result[image] = product
    return result


@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("residual", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("discard_ratio", [0.0, 0.45, 0.9])
def test_rollout_is_the_product_of_all_layers(
    fusion: HeadFusion, residual: float, discard_ratio: float
) -> None:
    layers = random_layers()
    result = rollout(layers, residual=residual, head_fusion=fusion, discard_ratio=discard_ratio)
    expected = plain_rollout(layers, residual, fusion, discard_ratio)
    np.testing.assert_allclose(result, expected, atol=1e-12)
    np.testing.assert_allclose(result.sum(dim=-1), 1.0)


def test_a_token_that_attends_to_nothing_keeps_its_own() -> None:
    result = rollout([torch.zeros(1, 2, 3, 3)])
    assert torch.equal(result[0], torch.eye(3, dtype=torch.float64))


def test_places_of_a_static_cache_without_weight_are_left_out() -> None:
    weights = torch.rand(1, 2, 3, 3, dtype=torch.float64).softmax(-1)
    padded = nn.functional.pad(weights, (0, 2))
    torch.testing.assert_close(rollout([padded]), rollout([weights]))
    padded[0, 1, 2, 4] = 0.1
    with pytest.raises(InputError, match="from all tokens to all tokens"):
        rollout([padded])


@pytest.mark.unchecked
def test_the_readout_is_one_token_some_or_all() -> None:
    matrix = rollout(random_layers())
    torch.testing.assert_close(read_out(matrix, 0), matrix[:, 0])
    torch.testing.assert_close(read_out(matrix, [1, 4]), (matrix[:, 1] + matrix[:, 4]) / 2)
    torch.testing.assert_close(read_out(matrix, "mean"), matrix.mean(dim=1))
    chosen = torch.rand(5, 7, generator=torch.Generator().manual_seed(3)) > 0.5
    for rows, row, tokens in zip(matrix, read_out(matrix, chosen), chosen, strict=True):
        torch.testing.assert_close(row, rows[tokens].mean(dim=0))
    of_all = [False, True, False, False, True, False, False]
    same: tuple[Any, ...] = (of_all, np.array(of_all), torch.tensor(of_all), np.array([4, 1]))
    for readout in same:
        torch.testing.assert_close(read_out(matrix, readout), read_out(matrix, [1, 4]))
    torch.testing.assert_close(read_out(matrix, cast(int, np.int64(-3))), matrix[:, 4])
    none_of_one = chosen.clone()
    none_of_one[2] = False
    wrong: tuple[Any, ...] = (7, -8, [], [0, 9], [0.5], "first", True, {1}, None)
    wrong = (*wrong, none_of_one, chosen[:3], chosen[:, :4], [True, False], chosen.long())
    for readout in wrong:
        with pytest.raises(InputError, match="readout must name some of 7 tokens"):
            read_out(matrix, readout)


@pytest.mark.unchecked
@pytest.mark.parametrize(
    "options",
    [{"residual": 1.0}, {"residual": -0.1}, {"discard_ratio": 1.0}, {"head_fusion": "median"}],
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(options))} must be"):
        rollout(random_layers(), **options)


def test_layers_over_different_tokens_and_several_forward_passes_are_refused() -> None:
    with pytest.raises(InputError, match="from all tokens to all tokens"):
        rollout([torch.rand(5, 2, 1, 7)])
    with pytest.raises(InputError, match="choose layers over the same tokens"):
        rollout([torch.rand(5, 2, 7, 7), torch.rand(5, 2, 3, 3)])
    model, images = oblong_model(), oblong_images(2)
    with torch.no_grad(), capture() as recording:
        model(images)
        model(images)
    with pytest.raises(InputError, match="2 of 3 layers"):
        rollout(recording)
    first = recording.records[:3]
    torch.testing.assert_close(rollout(first), rollout([record.weights for record in first]))


def test_relevance_equals_the_paper_written_out_with_autograd() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    all_weights: dict[tuple[int, int], Tensor] = {}

    def keep(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        all_weights[layer, head] = weights
        return weights @ values

    scores = plain_logits(model, images, keep).gather(1, TARGETS[:, None])[:, 0]
    gradients = torch.autograd.grad(scores.sum(), list(all_weights.values()))
    products = [
        np.maximum((x * y).detach().numpy(), 0)
        for x, y in zip(all_weights.values(), gradients, strict=True)
    ]
    matrix = np.eye(16)[None].repeat(5, axis=0)
    for layer in range(3):
        matrix = matrix + (products[2 * layer] + products[2 * layer + 1]) / 2 @ matrix
    expected = matrix - np.eye(16)
    result = class_relevance(model, images, TARGETS)
    np.testing.assert_allclose(result.matrix, expected, rtol=1e-9, atol=1e-15)
    assert result.readout.nonzero().tolist() == [[image, 0] for image in range(5)]
    np.testing.assert_allclose(result.tokens, expected[:, 0], rtol=1e-9, atol=1e-15)
    assert float(result.tokens.max()) > 1e-6
    torch.testing.assert_close(result.score, scores.detach())
    assert not result.matrix.requires_grad
    assert "5 images" in repr(result)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_readout_of_a_mean_pooling_model_is_all_tokens_unless_given() -> None:
    model, images = oblong_model("mean"), oblong_images(3)
    result = class_relevance(model, images, 4)
    assert torch.equal(result.readout, class_relevance(model, images, 4, readout="mean").readout)
    assert result.readout.all()
    torch.testing.assert_close(result.tokens, result.matrix.mean(dim=1))
    some = class_relevance(model, images, 4, readout=[1, 5])
    assert some.readout.nonzero()[:, 1].tolist() == 3 * [1, 5]
    torch.testing.assert_close(some.tokens, result.matrix[:, [1, 5]].mean(dim=1))


def test_an_image_without_any_gradient_has_no_relevance() -> None:
    with capture(gradients=True) as recording:
        logits = oblong_model("class")(oblong_images(2))
    result = relevance_of(logits[:, 4] * torch.tensor([1.0, 0.0]), recording)
    assert result.readout.sum(dim=1).tolist() == [1, 16]
    assert float(result.tokens[0].max()) > 0.0
    assert result.tokens[1].eq(0.0).all()


def test_the_default_class_is_the_predicted_one() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    predicted = model(images).argmax(dim=1)
    result = class_relevance(model, images)
    assert result.target is not None
    assert torch.equal(result.target, predicted)
    torch.testing.assert_close(result.tokens, class_relevance(model, images, predicted).tokens)
    assert not torch.allclose(result.tokens, class_relevance(model, images, 1).tokens)
    alone = class_relevance(model, images[[2]])
    torch.testing.assert_close(alone.tokens[0], result.tokens[2])


def test_a_score_function_replaces_the_class() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = oblong_model("class")

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"features": self.inner(images)}

    images = oblong_images(3)
    with pytest.raises(InputError, match=r"got dict; give score="):
        class_relevance(Features(), images)
    result = class_relevance(Features(), images, score=lambda out: out["features"][:, 6])
    assert result.target is None
    expected = class_relevance(oblong_model("class"), images, 6)
    torch.testing.assert_close(result.matrix, expected.matrix)


def test_relevance_of_the_words_of_a_text_model_of_transformers() -> None:
    model = bert("BertForSequenceClassification").train()
    ids = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    result = class_relevance(model, {"input_ids": ids, "attention_mask": mask}, 1)
    assert result.tokens.shape == (2, 7)
    assert result.readout.nonzero().tolist() == [[0, 0], [1, 0]]
    assert float(result.tokens[1, 5:].abs().max()) == 0.0
    assert float(result.tokens[:, :5].min()) >= 0.0 < float(result.tokens.max())
    assert model.training


@pytest.mark.parametrize("kind", ["frozen", "no_grad", "inference"])
def test_relevance_works_in_frozen_models_and_without_gradients(kind: str) -> None:
    model, images = oblong_model("class"), oblong_images(2)
    expected = class_relevance(model, images, 1).tokens
    if kind == "frozen":
        model.requires_grad_(False)
        result = class_relevance(model, images, 1).tokens
        assert not any(parameter.requires_grad for parameter in model.parameters())
    else:
        context = torch.no_grad() if kind == "no_grad" else torch.inference_mode()
        with context:
            result = class_relevance(model, images.clone(), 1).tokens
    torch.testing.assert_close(result, expected)


@pytest.mark.parametrize("change", ["heads are mixed", "keys have a sink"])
def test_gradients_go_through_what_happens_between_softmax_and_values(change: str) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 5, 4, dtype=torch.float64).unbind()
    mixing = nn.Linear(3, 3, bias=False).double()
    query.requires_grad_()
    with capture(gradients=True) as recording:
        scores = query @ key.transpose(-2, -1) * 0.5
        if change == "heads are mixed":
            weights = torch.softmax(scores, dim=-1)
            output = mixing(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) @ value
        else:
            with_sink = torch.cat([scores, torch.ones(2, 3, 5, 1).double()], dim=-1)
            weights = torch.softmax(with_sink, dim=-1)[..., :-1]
            output = weights @ value
    score = output.pow(2).sum(dim=(1, 2, 3))
    (gradient,) = torch.autograd.grad(score.sum(), weights, retain_graph=True)
    expected = (gradient * weights).clamp_min(0).mean(dim=1)
    torch.testing.assert_close(relevance_of(score, recording).matrix, expected.detach())


@pytest.mark.unchecked
def test_scores_without_gradients_of_a_layer_are_refused() -> None:
    images = oblong_images(2)
    with capture() as recording:
        logits = oblong_model()(images)
    with pytest.raises(InputError, match=r"capture\(gradients=True\)"):
        relevance_of(logits[:, 0], recording)
    with capture(gradients=True) as recording:
        logits = oblong_model()(images)
    with pytest.raises(InputError, match="infinite, first for image 1"):
        relevance_of(logits[:, 0] + torch.tensor([0.0, torch.inf]), recording)
    other = oblong_model()(images)
    with pytest.raises(InputError, match=r"the score does not depend on blocks\.0\.attn"):
        relevance_of(other[:, 0], recording)
    with pytest.raises(InputError, match="one number for each image"):
        relevance_of(other, recording)


@pytest.mark.unchecked
@pytest.mark.parametrize("target", [11, -1, [1, 2, 3], [0.5, 0.5]])
def test_a_class_that_does_not_exist_is_refused(target: Any) -> None:
    with pytest.raises(InputError, match=r"one class, or one for each of 2|from 0 to 10"):
        class_relevance(oblong_model(), oblong_images(2), target)


class SingleHead(nn.Module):
    """Attention with one head."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(12, 4, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        scores = self.query(x) @ self.key(x).mT / 2.0
        return cast(Tensor, scores.softmax(dim=-1) @ self.value(x))


class Heads(nn.Module):
    """One layer with a module for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(SingleHead() for _ in range(3))
        self.projection = nn.Linear(12, 12)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([head(x) for head in self.heads], dim=-1)
        return x + cast(Tensor, self.projection(joined))


def test_records_of_the_heads_of_one_layer_are_not_layers_of_rollout() -> None:
    model = nn.Sequential(Heads(), Heads()).eval()
    with pytest.warns(match="joined to one"), torch.no_grad(), capture() as recording:
        model(torch.randn(2, 7, 12))
    assert recording.joined == tuple(
        tuple(f"{layer}.heads.{head}" for head in range(3)) for layer in range(2)
    )
    with pytest.raises(InputError, match=r"0\.heads\.0, 0\.heads\.1, 0\.heads\.2 are joined"):
        rollout(recording)
    weights = [
        torch.cat([recording[name].weights for name in names], dim=1) for names in recording.joined
    ]
    fused = [0.5 * x.double().mean(dim=1) + 0.5 * torch.eye(7) for x in weights]
    torch.testing.assert_close(rollout(weights), fused[1] @ fused[0])
    with pytest.warns(match="joined to one"), torch.no_grad(), capture("*.heads.0") as first:
        model(torch.randn(2, 7, 12))
    assert first.joined == ()
    rollout(first)
