from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import clearhead as ch
from clearhead import insight
from clearhead.data import normalize
from clearhead.errors import ConfigError, ImageError, InputError, NothingCapturedError
from clearhead.explanation import (
    Explanation,
    ImageClassifier,
    ImageInput,
    explain,
    write_report,
)
from clearhead.explanation.page import picture_page
from clearhead.inference import prepare
from clearhead.insight.tokens import Grid
from clearhead.models import ImageModel, build
from clearhead.models.config import CNNConfig, ViTConfig
from tests.insight.reference import plain_probabilities


def small(depth: int = 2) -> ImageModel:
    torch.manual_seed(0)
    return build(ViTConfig(depth=depth, embed_dim=12, num_heads=2, patch_size=14))


def classifier(model: nn.Module, *shape: int) -> ImageClassifier:
    """A classifier whose preprocessing ignores the picture."""
    inputs = torch.randn(1, *shape, generator=torch.Generator().manual_seed(3))
    model_input = ImageInput(inputs=inputs, pixels=torch.zeros(1, *shape[1:], dtype=torch.uint8))
    return ImageClassifier(
        name="odd", model=model, class_names=tuple("0123456789"), preprocess=lambda _: model_input
    )


def double_inputs(path: Path) -> tuple[Any, Tensor]:
    model = ch.load().double()
    pixels = prepare(path, model.config).pixels[None].double() / 255
    return model, (pixels - model.config.mean[0]) / model.config.std[0]


def plain_weights(model: Any, inputs: Tensor) -> Tensor:
    """Every layer's and head's weights in float64, by loops over heads."""
    recorded: dict[tuple[int, int], Tensor] = {}

    def record(layer: int, head: int, weights: Tensor, values: Tensor) -> Tensor:
        recorded[layer, head] = weights[0]
        return weights @ values

    plain_probabilities(model, inputs, record)
    return torch.stack([torch.stack([recorded[i, h] for h in range(4)]) for i in range(6)])


def test_weights_and_prediction_are_those_of_a_forward_pass_by_hand(
    nine: Explanation, digits: list[Path]
) -> None:
    model, inputs = double_inputs(digits[9])
    weights = torch.stack([layer.weights[0] for layer in nine.layers]).double()
    torch.testing.assert_close(weights, plain_weights(model, inputs), atol=2e-6, rtol=0)
    probabilities = plain_probabilities(model, inputs)[0]
    np.testing.assert_allclose(nine.prediction.probabilities, probabilities, atol=1e-6)
    assert (nine.prediction.label, nine.prediction.probability) == (
        "9",
        max(nine.prediction.probabilities),
    )
    assert nine.prediction.runner_up_probability == sorted(nine.prediction.probabilities)[-2]
    assert nine.prediction.runner_up == str(int(probabilities.argsort()[-2]))


def test_the_prediction_is_that_of_predict(digits: list[Path]) -> None:
    strict = small()
    strict.config = replace(strict.config, doubtful_below=0.95, rejected_below=0.9)
    coarse = np.full((12, 12), 255, np.uint8)  # too few pixels to be rejected
    coarse[2:10, 5:7] = 0
    cases = ((small(), digits[5], "doubtful"), (strict, digits[5], "rejected"))
    for model, picture, status in (*cases, (strict, coarse, "doubtful")):
        explained = explain(model.train(), picture).prediction
        assert not model.training
        assert explained == ch.predict(model, picture)
        assert explained.status == status


def test_each_digit_of_a_picture_is_explained_as_predict_finds_it(
    digits: list[Path], tmp_path: Path
) -> None:
    row = Image.new("L", (320, 160), 255)
    row.paste(Image.open(digits[4]), (10, 10))
    row.paste(Image.open(digits[9]), (170, 10))
    model = small()
    explanation, predicted = explain(model, row, name="row.png"), ch.predict(model, row)
    assert explanation.prediction == predicted
    assert [x.prediction for x in explanation.digits] == list(predicted.digits)
    alone = np.array([ch.predict(model, digits[x]).probabilities for x in (4, 9)])
    found = np.array([x.prediction.probabilities for x in explanation.digits])
    assert np.abs(found[:, None] - alone).sum(-1).argmin(1).tolist() == [0, 1]
    assert [x.image for x in explanation.digits] == [f"row.png, digit {n} of 2" for n in (1, 2)]
    for digit in explanation.digits:
        with torch.no_grad(), ch.capture() as recording:
            model(normalize(digit.pixels[None], model.config))
        for layer, record in zip(digit.layers, recording.records, strict=True):
            torch.testing.assert_close(layer.weights, record.weights)
        assert all(verification.passed for verification in digit.verifications)
        assert digit.shapley.values is not None
        assert not digit.digits
    assert explanation.layers == ()
    assert "one by one" in explanation.shapley.reason
    assert explanation.to_dict()["digits"] == [x.to_dict() for x in explanation.digits]
    html = explanation._repr_html_()
    assert html == "".join(x._repr_html_() for x in explanation.digits)
    files = write_report(explanation, tmp_path / "row.v2.html", formats=["json"])
    assert [file.name for file in files] == [
        f"row.v2-digit-{n}.{suffix}" for n in (1, 2) for suffix in ("html", "json")
    ]
    assert files[2].read_text(encoding="utf-8") == picture_page(explanation.digits[1])
    assert sorted(tmp_path.iterdir()) == sorted(files)


def test_the_measures_are_those_of_insight(digits: list[Path]) -> None:
    model = small()
    explained = explain(model, digits[9])
    images = normalize(explained.pixels[None], model.config)
    label = int(explained.prediction.label or "")
    with torch.no_grad(), ch.capture() as recording:
        model(images)
    exact = insight.shapley(model, images)
    assert exact.is_exact
    options: Any = {"method": "mask", "grid": explained.grid}
    masked = insight.ablate(model, images, torch.tensor([label]), "patch", **options)
    expected = {
        "rollout": insight.rollout(recording)[0].mean(0),
        "relevance": insight.class_relevance(model, images, label).tokens[0],
        "shapley": exact.values[0],
        "masking": torch.tensor([x.probability_drop for x in masked], dtype=torch.float64),
    }
    assert list(explained.influences) == list(expected)
    for name, influence in explained.influences.items():
        torch.testing.assert_close(influence.values, expected[name], atol=1e-5, rtol=0, msg=name)


def test_every_layer_is_verified_and_the_graph_is_released(nine: Explanation) -> None:
    assert nine.layer_names == tuple(f"blocks.{i}.attn" for i in range(6))
    assert [verification.name for verification in nine.verifications] == list(nine.layer_names)
    assert all(verification.passed for verification in nine.verifications)
    tensors = [layer.weights for layer in nine.layers]
    tensors += [x.values for x in nine.influences.values() if x.values is not None]
    assert len(tensors) == 10
    assert not any(x.requires_grad for x in tensors)


def test_the_model_is_unchanged_afterwards(digits: list[Path]) -> None:
    model: Any = small().train()
    model.blocks[0].eval()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    explain(classifier(model, 1, 28, 28), digits[0])
    assert model.training
    assert not model.blocks[0].training
    assert all(x.grad is None for x in model.parameters())
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_chosen_layers_are_kept_and_all_are_verified(digits: list[Path]) -> None:
    model = small(depth=4)
    whole = explain(model, digits[9])
    explanation = explain(model, digits[9], layers=[0, "blocks.2.*", -1])
    kept = ["blocks.0.attn", "blocks.2.attn", "blocks.3.attn"]
    assert [layer.name for layer in explanation.layers] == kept
    assert explanation.to_dict()["omitted_layers"] == ["blocks.1.attn"]
    assert len(explanation.verifications) == 4
    assert torch.equal(explanation.layers[1].weights, whole.layers[2].weights)
    assert explanation.rollout.values is not None
    assert whole.rollout.values is not None
    assert torch.equal(explanation.rollout.values, whole.rollout.values)


def test_an_empty_picture_has_no_prediction() -> None:
    explanation = explain("digits", np.zeros((40, 30), dtype=np.uint8))
    assert (explanation.prediction.label, explanation.prediction.probabilities) == (None, ())
    assert explanation.prediction.warnings == ("no digit found",)
    assert explanation.image == "picture"
    assert len(explanation.layers) == 6
    assert explanation.rollout.values is not None
    for influence in (explanation.relevance, explanation.shapley, explanation.masking):
        assert (influence.values, influence.reason) == (None, "there is no prediction")


def with_class_token() -> ImageModel:
    torch.manual_seed(0)
    return build(
        ViTConfig(
            image_size=(18, 14), patch_size=(6, 7), in_channels=3, embed_dim=12, depth=2,
            num_heads=3, pool="class", num_classes=3, class_names=("a", "b", "c"),
        )
    )  # fmt: skip


def test_a_class_token_is_part_of_the_grid(photo: Path) -> None:
    explanation = explain(with_class_token(), photo, name="my photo")
    assert explanation.grid == Grid(3, 2, 1, ("class token",))
    assert [layer.weights.shape for layer in explanation.layers] == [(1, 3, 7, 7)] * 2
    assert all(layer.on_grid and len(layer.queries) == 7 for layer in explanation.layers)
    assert (explanation.image, explanation.model) == ("my photo", "VisionTransformer")
    assert explanation.pixels.shape == (3, 18, 14)
    assert not explanation.is_ink
    values = [explanation.rollout.values, explanation.relevance.values]
    assert [None if x is None else len(x) for x in values] == [7, 7]
    assert explanation.masking.values is not None
    assert len(explanation.masking.values) == 6


def test_too_many_queries_are_thinned_by_rows_and_columns_of_patches(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.explanation._selection.MAX_WEIGHTS", 3 * 3 * 7)
    (layer,) = explain(with_class_token(), photo).layers
    assert tuple(layer.queries) == (0, 1, 5)  # of 3 x 2 patches after the class token
    assert layer.weights.shape == (1, 3, 3, 7)


def test_rollout_starts_from_the_tokens_that_the_model_pools(photo: Path) -> None:
    model: Any = with_class_token()
    model.pooled = lambda tokens: tokens[:, 4:].mean(dim=1)  # without the class token
    explanation = explain(model, photo)
    matrix = insight.rollout([layer.weights for layer in explanation.layers])[0]
    found = explanation.rollout.values
    torch.testing.assert_close(found, matrix[4:].mean(dim=0), atol=1e-6, rtol=0)
    assert not torch.allclose(matrix[0], matrix[4:].mean(dim=0), atol=1e-4)


def test_rollout_without_a_prediction_starts_from_the_class_token() -> None:
    torch.manual_seed(0)
    model = build(ViTConfig(depth=2, pool="class"))
    explanation = explain(model, np.zeros((28, 28), dtype=np.uint8))
    assert explanation.prediction.label is None
    matrix = insight.rollout([layer.weights for layer in explanation.layers])[0]
    torch.testing.assert_close(explanation.rollout.values, matrix[0], atol=1e-6, rtol=0)


def test_a_model_without_attention_is_named(digits: list[Path]) -> None:
    with pytest.raises(
        NothingCapturedError, match="no attention was recorded in ConvNet, a ConvNet; only"
    ):
        explain(build(CNNConfig(widths=(2,))), digits[1])


def test_a_model_without_a_known_grid_still_has_its_matrices() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
            self.head = nn.Linear(6, 10)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(2).transpose(1, 2)
            logits: Tensor = self.head(self.attention(tokens, tokens, tokens)[0].mean(1))
            return logits

    explanation = explain(classifier(Odd(), 6, 1, 7), np.zeros((3, 3), dtype=np.uint8))
    assert explanation.grid is None
    (layer,) = explanation.layers
    assert (layer.name, layer.on_grid, layer.weights.shape) == ("attention", False, (1, 2, 7, 7))
    assert explanation.prediction.label is not None
    for influence in explanation.influences.values():
        assert influence.values is None
        assert "does not declare the grid of its patches" in influence.reason


def test_windows_with_as_many_tokens_as_the_grid_are_not_on_it() -> None:
    class Windows(nn.Module):
        """Two windows of six tokens, on a grid that has six patches as well."""

        grid, num_prefix_tokens = (2, 3), 0
        config = SimpleNamespace(image_shape=(4, 3))

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(10, 1, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.reshape(2, 6, 1).expand(-1, -1, 10)
            logits: Tensor = self.attention(tokens, tokens, tokens)[0].mean((0, 1))[None]
            return logits

    explanation = explain(classifier(Windows(), 1, 4, 3), np.zeros((3, 3), dtype=np.uint8))
    assert explanation.layers[0].weights.shape == (2, 1, 6, 6)
    assert not explanation.layers[0].on_grid
    assert "attends inside windows" in explanation.masking.reason


@pytest.mark.parametrize("has_grid_layer", [False, True])
def test_a_grid_is_left_out_if_no_layer_attends_over_its_tokens(has_grid_layer: bool) -> None:
    class Reduced(nn.Module):
        """Six patches, which are reduced to two tokens before the first or the second layer."""

        grid, num_prefix_tokens = (2, 3), 0
        config = SimpleNamespace(image_shape=(2, 3))

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(10, 1, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.reshape(1, 6, 1).expand(-1, -1, 10)
            if has_grid_layer:
                tokens = self.attention(tokens, tokens, tokens)[0]
            tokens = tokens[:, :2]
            logits: Tensor = self.attention(tokens, tokens, tokens)[0].mean((0, 1))[None]
            return logits

    explanation = explain(classifier(Reduced(), 1, 2, 3), np.zeros((3, 3), dtype=np.uint8))
    assert explanation.grid == (Grid(2, 3) if has_grid_layer else None)
    shapes = [layer.weights.shape[-2:] for layer in explanation.layers]
    assert shapes == [(6, 6)] * has_grid_layer + [(2, 2)]
    assert [layer.on_grid for layer in explanation.layers] == [True] * has_grid_layer + [False]


def test_a_broken_picture_and_an_unknown_model_are_errors(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ImageError, match=r"notes\.png: .*not an image"):
        explain("digits", tmp_path / "notes.png")
    with pytest.raises(
        InputError, match=r'got torch\.nn\..*Linear; .*"timm:NAME".*explanation\.ImageClassifier\('
    ):
        explain(nn.Linear(2, 3), tmp_path / "notes.png")  # type: ignore[call-overload]


def test_results_have_a_short_repr_and_an_image_for_notebooks(nine: Explanation) -> None:
    assert repr(nine).startswith("Explanation(")
    assert f"label='9', probability={nine.prediction.probability:.4g}" in repr(nine)
    assert len(repr(nine)) < 200
    assert repr(nine.layers[2]) == "LayerWeights('blocks.2.attn', 1×4×16×16)"
    assert repr(nine.rollout) == "Influence(16 tokens)"
    some = replace(nine, layers=nine.layers[:1], image="<b>nine</b>")
    html = some._repr_html_()
    assert "&lt;b&gt;nine&lt;/b&gt;" in html
    assert html.count('src="data:image/png;base64,') == 5


def test_options_for_texts_are_refused_for_pictures(digits: list[Path]) -> None:
    for options in ({"word": "it"}, {"heads": "each"}):
        with pytest.raises(ConfigError, match="for texts, and VisionTransformer takes pictures"):
            explain(ch.load(), digits[0], **options)


@pytest.mark.parametrize("model", ["digits", "sentences"])
def test_several_pictures_or_texts_are_refused_with_advice(model: str) -> None:
    for several in ([], ["a.png", "b.png"], ("a", "b")):
        with pytest.raises(InputError, match="call explain for each"):
            explain(model, cast(Any, several))


def test_a_text_given_to_an_image_classifier_is_refused_with_advice() -> None:
    with pytest.raises(ImageError, match=r'for a text give a text model: .*explain\("sentences"'):
        explain("digits", "The cat sat.")
    with pytest.raises(ImageError) as caught:
        explain("digits", "my cat.png")
    assert "sentences" not in str(caught.value)
