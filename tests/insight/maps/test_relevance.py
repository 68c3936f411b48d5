import math

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from clearhead.errors import InputError
from clearhead.insight.maps.relevance import (
    class_relevance,
    output_gradients,
    relevance_of,
    weight_gradient,
)
from clearhead.models.layers import Block
from clearhead.models.vit import VisionTransformer
from clearhead.recording import Recording, capture

from ..plain_forward import oblong_images, oblong_model

TARGETS = torch.tensor([3, 0, 10, 3, 7])


def as_block(module: nn.Module) -> Block:
    assert isinstance(module, Block)
    return module


def explicit_forward(model: VisionTransformer, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and every layer's weights (batch heads tokens tokens) on the way to them."""
    x = model.embedded(images)
    kept = []
    for block in map(as_block, model.blocks):
        attn = block.attn
        query, key, value = attn.qkv(block.norm1(x)).chunk(3, dim=-1)
        outputs, weights = [], []
        for head in range(attn.num_heads):
            part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
            scores = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(attn.head_dim)
            weights.append(scores.softmax(dim=-1))
        stacked = torch.stack(weights, dim=1)
        kept.append(stacked)
        for head in range(attn.num_heads):
            part = slice(head * attn.head_dim, (head + 1) * attn.head_dim)
            outputs.append(stacked[:, head] @ value[..., part])
        x = x + attn.proj(torch.cat(outputs, dim=-1))
        x = x + block.mlp(block.norm2(x))
    return model.head(model.pooled(model.norm(x))), kept


def explicit_relevance(
    model: VisionTransformer, images: Tensor, targets: Tensor
) -> tuple[np.ndarray, list[Tensor]]:
    """R - I, one image at a time in loops, with gradients by autograd; and those gradients."""
    logits, kept = explicit_forward(model, images)
    score = sum(logits[image, int(target)] for image, target in enumerate(targets))
    gradients = torch.autograd.grad(score, kept)  # type: ignore[arg-type]
    result = np.empty((len(images), 16, 16))
    for image in range(len(images)):
        flow = np.eye(16)
        for weights, gradient in zip(kept, gradients, strict=True):
            product = (weights * gradient)[image].detach().numpy()
            flow = flow + np.maximum(product, 0).mean(axis=0) @ flow
        result[image] = flow - np.eye(16)
    return result, list(gradients)


def test_relevance_equals_the_paper_written_out_with_autograd() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    expected, _ = explicit_relevance(model, images, TARGETS)
    found = class_relevance(model, images, TARGETS)
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-9, atol=1e-15)
    assert found.readout == (0,)
    np.testing.assert_allclose(found.tokens, expected[:, 0], rtol=1e-9, atol=1e-15)
    assert float(found.tokens.max()) > 1e-6
    torch.testing.assert_close(found.score, explicit_forward(model, images)[0].gather(
        1, TARGETS[:, None])[:, 0].detach())  # fmt: skip


def test_the_gradient_of_weights_comes_from_that_of_the_output() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    _, expected = explicit_relevance(model, images, TARGETS)
    with capture(gradients=True) as seen:
        score = model(images).gather(1, TARGETS[:, None])[:, 0]
    found = output_gradients(score, seen)
    for record, gradient, true in zip(seen.records, found, expected, strict=True):
        torch.testing.assert_close(weight_gradient(record, gradient), true)


def test_a_model_that_averages_its_tokens_is_read_at_all_of_them() -> None:
    model, images = oblong_model("mean"), oblong_images(3)
    found = class_relevance(model, images, 4)
    assert found.readout == tuple(range(15))
    torch.testing.assert_close(found.tokens, found.matrix.mean(dim=1))


def test_the_default_class_is_the_models_answer() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    answers = model(images).argmax(dim=1)
    found = class_relevance(model, images)
    assert found.target is not None
    assert torch.equal(found.target, answers)
    torch.testing.assert_close(found.tokens, class_relevance(model, images, answers).tokens)


def test_another_class_has_another_relevance_and_one_image_does_not_touch_another() -> None:
    model, images = oblong_model("class"), oblong_images(5)
    found = class_relevance(model, images, TARGETS)
    assert not torch.allclose(found.tokens, class_relevance(model, images, 1).tokens)
    for image in range(5):
        alone = class_relevance(model, images[[image]], int(TARGETS[image]))
        torch.testing.assert_close(alone.tokens[0], found.tokens[image])


def test_the_readout_can_be_said() -> None:
    model, images = oblong_model("class"), oblong_images(2)
    matrix = class_relevance(model, images, 2).matrix
    torch.testing.assert_close(
        class_relevance(model, images, 2, readout="mean").tokens, matrix.mean(dim=1)
    )
    torch.testing.assert_close(
        class_relevance(model, images, 2, readout=[1, 5]).tokens, matrix[:, [1, 5]].mean(dim=1)
    )


def test_a_score_of_ones_own_takes_the_place_of_a_class() -> None:
    model, images = oblong_model("class"), oblong_images(3)
    by_score = class_relevance(model, images, score=lambda logits: logits[:, 6])
    assert by_score.target is None
    torch.testing.assert_close(by_score.matrix, class_relevance(model, images, 6).matrix)


def test_a_text_model_of_transformers_gives_relevance_of_words() -> None:
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=3, intermediate_size=7,
        vocab_size=31,
    )  # fmt: skip
    model = transformers.BertForSequenceClassification(config)
    ids = torch.randint(0, 31, (2, 7), generator=torch.Generator().manual_seed(1))
    mask = torch.ones(2, 7, dtype=torch.long)
    mask[1, 5:] = 0
    found = class_relevance(model, {"input_ids": ids, "attention_mask": mask}, 1)
    assert found.tokens.shape == (2, 7)
    assert found.readout == (0,)
    assert float(found.tokens[1, 5:].abs().max()) == 0.0
    assert float(found.tokens[:, :5].min()) >= 0.0 < float(found.tokens.max())
    assert model.training


@pytest.mark.parametrize("kind", ["frozen", "no_grad", "inference"])
def test_gradients_flow_in_frozen_models_and_where_they_are_switched_off(kind: str) -> None:
    model, images = oblong_model("class"), oblong_images(2)
    expected = class_relevance(model, images, 1).tokens
    if kind == "frozen":
        model.requires_grad_(False)
        found = class_relevance(model, images, 1).tokens
        assert not any(parameter.requires_grad for parameter in model.parameters())
    elif kind == "no_grad":
        with torch.no_grad():
            found = class_relevance(model, images, 1).tokens
    else:
        with torch.inference_mode():
            found = class_relevance(model, images.clone(), 1).tokens
    torch.testing.assert_close(found, expected)


def test_no_gradient_is_left_in_the_model() -> None:
    model = oblong_model("class")
    found = class_relevance(model, oblong_images(2))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not found.tokens.requires_grad
    assert not found.matrix.requires_grad


def test_gradients_go_back_through_what_a_model_does_to_its_weights() -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 3, 5, 4, dtype=torch.float64).unbind()
    mixing = nn.Linear(3, 3, bias=False).double()
    query.requires_grad_()

    def mixed(weights: Tensor) -> Tensor:
        out: Tensor = mixing(weights.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return out

    with capture(gradients=True) as seen:
        weights = torch.softmax(query @ key.transpose(-2, -1) * 0.5, dim=-1)
        output = mixed(weights) @ value
    score = output.pow(2).sum(dim=(1, 2, 3))
    seen.verify()
    (expected,) = torch.autograd.grad(score.sum(), weights, retain_graph=True)
    (gradient,) = output_gradients(score, seen)
    torch.testing.assert_close(weight_gradient(seen[0], gradient), expected)


def captured(model: VisionTransformer, images: Tensor) -> tuple[Tensor, Recording]:
    with capture(gradients=True) as seen:
        logits = model(images)
    return logits, seen


def test_a_capture_without_a_graph_is_refused() -> None:
    with capture() as seen:
        logits = oblong_model()(oblong_images(2))
    with pytest.raises(InputError, match=r"capture\(gradients=True\)"):
        relevance_of(logits[:, 0], seen)


@pytest.mark.unchecked
def test_a_score_that_does_not_depend_on_a_layer_is_refused() -> None:
    images = oblong_images(2)
    _, seen = captured(oblong_model(), images)
    other, _ = captured(oblong_model(), images)
    with pytest.raises(InputError, match=r"the score does not depend on blocks\.0\.attn"):
        relevance_of(other[:, 0], seen)
    with pytest.raises(InputError, match="one number for each image"):
        relevance_of(other, seen)


@pytest.mark.unchecked
@pytest.mark.parametrize("target", [11, -1, [1, 2, 3], [0.5, 0.5]])
def test_a_class_that_is_not_there_is_refused(target: int | list[int]) -> None:
    with pytest.raises(InputError, match="target must"):
        class_relevance(oblong_model(), oblong_images(2), target)


def test_an_output_without_logits_asks_for_a_score() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = oblong_model()

        def forward(self, images: Tensor) -> dict[str, Tensor]:
            return {"features": self.inner(images)}

    with pytest.raises(InputError, match=r"got dict; give score="):
        class_relevance(Features(), oblong_images(2))
    found = class_relevance(Features(), oblong_images(2), score=lambda out: out["features"][:, 1])
    assert found.tokens.shape == (2, 15)
