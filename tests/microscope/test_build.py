"""Building the page in Python: bundle, payload, refusals."""

import base64
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clearhead import microscope
from clearhead.errors import CheckpointError, ConfigError
from clearhead.microscope import build_page, shipped, shipped_page
from clearhead.microscope._payload import check_config, examples, rounded
from clearhead.microscope._reference import example_logits, rounded_model
from clearhead.microscope.shipped import FACTS, MODELS
from clearhead.models import build, load
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.vit import VisionTransformer
from tests.microscope.node import need_npm, run

BUNDLES = (
    *(f"explanation/assets/{name}" for name in ("base.css", "explanation.css", "explanation.js")),
    *("microscope/assets/microscope.css", "microscope/assets/microscope.js"),
)
PACKAGE = Path(microscope.__file__).parents[1]


def test_the_bundles_are_a_fresh_build_of_their_sources(tmp_path: Path) -> None:
    need_npm()
    run("node", "web/build.mjs", "--out", tmp_path)
    built = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*.*")}
    assert sorted(built) == sorted(BUNDLES)
    for name, path in built.items():
        shipped_file = PACKAGE / name
        assert path.read_bytes() == shipped_file.read_bytes(), "run npm run build, and commit"


def test_the_tests_of_the_sources_pass_under_node() -> None:
    need_npm()
    run("node", "web/test.mjs")


@pytest.mark.parametrize("name", BUNDLES)
def test_nothing_in_a_bundle_ends_the_element_it_is_written_into(name: str) -> None:
    text = (PACKAGE / name).read_text("utf-8")
    assert "</script" not in text
    assert "</style" not in text


def block(page: str, name: str) -> str:
    found = re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


def payload(page: str) -> dict[str, Any]:
    return dict(json.loads(block(page, "payload")))


@pytest.fixture(scope="module")
def model() -> VisionTransformer:
    return load()


def test_the_shipped_page_is_the_page_of_the_shipped_model(model: VisionTransformer) -> None:
    ready, built = shipped_page(), build_page(model, name="digits")
    carried, again = payload(ready), payload(built)
    assert block(ready, "weights") == block(built, "weights")
    np.testing.assert_allclose(carried.pop("logits"), again.pop("logits"), rtol=0, atol=1e-9)
    measured = json.loads((MODELS / "digits" / "metrics.json").read_bytes())["test"]
    accuracy = carried.pop("accuracy")
    assert (accuracy["full"], accuracy["total"]) == (measured["correct"], measured["total"])
    assert abs(accuracy["correct"] - accuracy["full"]) <= 3  # rounded weights
    assert again.pop("accuracy") is None
    assert len(carried.pop("roles")) == 24
    assert again.pop("roles") is None
    assert carried == again


def test_the_page_contains_the_weights_in_half_precision(model: VisionTransformer) -> None:
    page = shipped_page()
    numbers = np.frombuffer(base64.b64decode(block(page, "weights")), "<f2")
    state = model.state_dict()
    tensors = payload(page)["tensors"]
    assert [tensor["shape"] for tensor in tensors] == [
        list(state[t["name"]].shape) for t in tensors
    ]
    expected = [state[tensor["name"]].numpy().astype(np.float16).ravel() for tensor in tensors]
    assert (numbers == np.concatenate(expected)).all()
    twin = rounded_model(model)
    assert (twin.head.weight.dtype, model.head.weight.dtype) == (torch.float64, torch.float32)
    assert 0 < (twin.head.weight - model.head.weight).abs().max() < 1e-3


def test_the_logits_are_those_of_the_rounded_weights(model: VisionTransformer) -> None:
    kept = json.loads((FACTS / "digits.json").read_bytes())["logits"]
    found = np.array(example_logits(model))
    np.testing.assert_allclose(found, kept, rtol=0, atol=1e-9)
    labels = [example["label"] for example in examples()]
    assert labels == sorted("0123456789" * 2)
    assert found.argmax(axis=1).tolist() == list(map(int, labels))


def test_building_the_shipped_page_imports_no_torch() -> None:
    code = (
        "import sys; from clearhead.cli.page import build; build('digits');"
        "print(sorted({'torch', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_facts_of_other_weights_are_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    facts = json.loads((FACTS / "digits.json").read_text())
    (tmp_path / "digits.json").write_text(json.dumps(facts | {"sha256": "0" * 64}))
    monkeypatch.setattr(shipped, "FACTS", tmp_path)
    with pytest.raises(CheckpointError, match="does not belong to the weights"):
        shipped_page()
    (tmp_path / "digits.json").write_text(json.dumps(facts))
    shutil.copytree(MODELS / "digits", tmp_path / "digits")
    weights = tmp_path / "digits" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(shipped, "MODELS", tmp_path)
    with pytest.raises(CheckpointError, match="does not belong to the weights"):
        shipped_page()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ViTConfig(patch_size=2), "at most 65 tokens, this one has 196"),
        (ViTConfig(image_size=(5, 13), patch_size=1, pool="class"), "65 tokens, this one has 66"),
        (ViTConfig(num_classes=41), "at most 40 classes, this one has 41"),
        (ViTConfig(depth=17), "at most 16 layers, this one has 17"),
        (ViTConfig(num_heads=32), "at most 16 heads per layer, this one has 32"),
        (ViTConfig(stem_channels=3), "with stem_channels 0, this one has 3"),
        (ViTConfig(patch_overlap=2), "with patch_overlap 0, this one has 2"),
        (ViTConfig(num_registers=1), "with num_registers 0, this one has 1"),
    ],
)
def test_a_model_that_the_page_cannot_show_is_refused(config: ViTConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(config)


def test_models_and_weights_that_cannot_be_shown_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"own VisionTransformer, got .*ConvNet"):
        build_page(build(CNNConfig(widths=(3,))))
    with pytest.raises(ConfigError, match="with num_registers 0, this one has 2"):
        build_page(build(ViTConfig(depth=1, num_registers=2)))
    with pytest.raises(ConfigError, match=r"big holds numbers beyond ±65,504"):
        rounded({"big": np.array([1.0, 7e4])})
    with pytest.raises(ConfigError, match="at most 4,000,000 weights, this model has 4,000,001"):
        rounded({"many": np.zeros(4_000_001)})


def test_names_that_look_like_html_are_escaped() -> None:
    names = ("</script>", "b")
    config = ViTConfig(depth=1, embed_dim=8, num_heads=2, num_classes=2, class_names=names)
    page = build_page(build(config), name="<b>&")
    assert "<b>&" not in page
    assert payload(page)["settings"]["class_names"] == list(names)
    assert payload(page)["name"] == "<b>&"


def test_a_page_has_few_example_pictures_as_its_model_takes_them() -> None:
    names = ("red", "green", "blue")
    config = ViTConfig(
        image_size=16, patch_size=8, in_channels=3, depth=1, embed_dim=8, num_heads=2,
        num_classes=3, class_names=names, mean=(0.5,) * 3, std=(0.5,) * 3,
    )  # fmt: skip
    picture = np.zeros((3, 16, 16), np.uint8)
    picture[0] = 200
    page = build_page(build(config), pictures={"red": picture})
    (carried,) = payload(page)["pictures"]
    assert carried["label"] == "red"
    assert base64.b64decode(carried["image"]) == picture.tobytes()
    with pytest.raises(ConfigError, match="at most 20 pictures, got 21"):
        build_page(build(config), pictures={str(i): picture for i in range(21)})
    with pytest.raises(ConfigError, match="a digit classifier takes drawings"):
        build_page(load(), pictures={"red": picture})
