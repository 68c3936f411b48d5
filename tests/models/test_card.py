"""What a saved model says of itself is true, and is kept when somebody has written another one."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from clearhead.models.build import build, load, load_text
from clearhead.models.card import model_card, write_card
from clearhead.models.config import CNNConfig, ImageModelConfig, TextConfig, ViTConfig

VIT = ViTConfig(
    image_size=(6, 9), patch_size=3, in_channels=3, embed_dim=4, depth=1, num_heads=2,
    num_classes=2, class_names=("[cat]", "dog"),
)  # fmt: skip
MANY = CNNConfig(widths=(3,), num_classes=19)
TEXT = TextConfig(
    vocabulary=("a", "cat"), context_length=7, embed_dim=4, num_heads=2, depth=1, causal=True
)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (VIT, "it reads 3-channel images of 6 × 9 pixels, and answers with [cat], dog; "),
        (MANY, "it reads grey images of 28 × 28 pixels, and answers with 0, 1, 2, "),
        (TEXT, "it reads texts of at most 7 words, of 2 that it knows, and each word sees the "),
    ],
)
def test_a_card_says_what_the_model_is(config: ImageModelConfig | TextConfig, told: str) -> None:
    model = build(config)
    card = model_card(model, config)
    assert told in card
    assert f"# {type(model).__name__}" in card
    assert "embed_dim 4" in card or "widths (3)" in card
    assert "not recorded here" in card
    for untrue in ("pushed", "More Information Needed", "Hub"):
        assert untrue not in card
    assert "library_name: clearhead" in str(ModelCard(card).data)


def test_it_counts_parameters() -> None:
    patches, positions, norm, head = 3 * 9 * 4 + 4, 6 * 4, 2 * 4, 4 * 2 + 2
    attention, mlp = 4 * 12 + 12 + 4 * 4 + 4, 4 * 16 + 16 + 16 * 4 + 4
    counted = patches + positions + 3 * norm + attention + mlp + head
    assert f"; {counted} parameters" in model_card(build(VIT), VIT)


@pytest.mark.parametrize("config", [VIT, MANY, TEXT])
def test_the_code_in_the_card_loads_the_model(
    config: ImageModelConfig | TextConfig, tmp_path: Path
) -> None:
    build(config).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path))
    names: dict[str, object] = {}
    exec(code, names)  # a reader types it so
    expected = (load_text if config is TEXT else load)(tmp_path)
    assert type(names["model"]) is type(expected)


def test_what_was_measured_stays_no_longer_than_the_weights(tmp_path: Path) -> None:
    model = build(MANY)
    model.save_pretrained(tmp_path)
    write_card(tmp_path, model, MANY, "97 %")
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "**Accuracy**: 97 %." in card
    assert "not recorded" not in card
    build(VIT).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "97 %" not in card
    assert "# VisionTransformer" in card


def test_a_card_that_somebody_has_written_stays(tmp_path: Path) -> None:
    model = build(MANY)
    (tmp_path / "README.md").write_bytes(b"mine \xff")
    model.save_pretrained(tmp_path)
    write_card(tmp_path, model, MANY, "98 %")
    assert (tmp_path / "README.md").read_bytes() == b"mine \xff"


def test_the_hubs_template_is_used_where_it_is_given_something_to_say(tmp_path: Path) -> None:
    build(MANY).save_pretrained(tmp_path, model_card_kwargs={"license": "mit"})
    assert "PyTorchModelHubMixin" in (tmp_path / "README.md").read_text("utf-8")
