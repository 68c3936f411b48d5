"""The model card of a saved model is true, and one written by hand is kept."""

from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from clearhead.models import CNNConfig, ImageModelConfig, TextConfig, ViTConfig, build, load

VIT = ViTConfig(
    image_size=(6, 9), patch_size=3, in_channels=3, embed_dim=4, depth=1, num_heads=2,
    num_classes=2, class_names=("[cat]", "dog"),
)  # fmt: skip
MANY = CNNConfig(widths=(3,), num_classes=19)
TEXT = TextConfig(
    vocabulary=("a", "cat"), context_length=7, embed_dim=4, num_heads=2, depth=1, causal=True
)


@pytest.mark.parametrize(
    ("config", "described"),
    [
        (VIT, ("3-channel images of 6 × 9 pixels", "[cat], dog; ", "embed_dim 4")),
        (MANY, ("grey images of 28 × 28 pixels", "0, 1, 2, ", "15, …", "widths (3)")),
        (TEXT, ("at most 7 words", "vocabulary of 2", "earlier words", "embed_dim 4")),
    ],
)
def test_a_saved_model_has_a_card_that_describes_it_and_loads_it(
    config: ImageModelConfig | TextConfig, described: tuple[str, ...], tmp_path: Path
) -> None:
    model = build(config)
    model.save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    parameters = sum(x.numel() for x in model.parameters())
    title = f"# {type(model).__name__}"
    for text in (*described, title, "not recorded here", f"; {parameters:,} parameters"):
        assert text in card
    for untrue in ("pushed", "More Information Needed", "Hub"):
        assert untrue not in card
    assert "library_name: clearhead" in str(ModelCard(card).data)
    code = card.split("```python\n")[1].split("```")[0].replace("FOLDER", str(tmp_path))
    names: dict[str, object] = {}
    exec(code, names)
    assert type(names["model"]) is type(load(tmp_path))


def test_a_measurement_is_replaced_with_the_weights(tmp_path: Path) -> None:
    model = build(MANY)
    model.save_pretrained(tmp_path)
    model.write_card(tmp_path, "97 %")
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "**Accuracy**: 97 %." in card
    assert "not recorded" not in card
    build(VIT).save_pretrained(tmp_path)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "97 %" not in card
    assert "# VisionTransformer" in card


def test_a_card_written_by_hand_is_kept(tmp_path: Path) -> None:
    model = build(MANY)
    (tmp_path / "README.md").write_bytes(b"mine \xff")
    model.save_pretrained(tmp_path)
    model.write_card(tmp_path, "98 %")
    assert (tmp_path / "README.md").read_bytes() == b"mine \xff"
