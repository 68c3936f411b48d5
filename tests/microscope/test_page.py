import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from clearhead.errors import CheckpointError, ConfigError
from clearhead.microscope import shipped
from clearhead.microscope.page import build_page
from clearhead.microscope.payload import check_config, examples, rounded
from clearhead.microscope.reference import example_logits, rounded_model
from clearhead.microscope.shipped import FACTS, ready_page
from clearhead.models.build import build, load
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.vit import VisionTransformer


def block(page: str, name: str) -> str:
    found = re.search(rf'id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def reader() -> VisionTransformer:
    model = load()
    assert isinstance(model, VisionTransformer)
    return model


def test_the_page_that_ships_is_the_page_of_the_shipped_model(reader: VisionTransformer) -> None:
    ready, built = ready_page(), build_page(reader, name="digits")
    carried, again = (json.loads(block(page, "payload")) for page in (ready, built))
    assert block(ready, "weights") == block(built, "weights")
    np.testing.assert_allclose(carried.pop("logits"), again.pop("logits"), rtol=0, atol=1e-9)
    assert carried.pop("accuracy") == {"correct": 9952, "total": 10000, "full": 9952}
    assert again.pop("accuracy") is None
    assert carried == again


def test_weights_come_back_as_half_precision_in_the_order_of_their_names(
    reader: VisionTransformer,
) -> None:
    page = ready_page()
    numbers = np.frombuffer(base64.b64decode(block(page, "weights")), "<f2")
    place = 0
    for tensor in json.loads(block(page, "payload"))["tensors"]:
        expected = reader.state_dict()[tensor["name"]]
        count = expected.numel()
        assert tensor["shape"] == list(expected.shape)
        found = numbers[place : place + count].reshape(expected.shape)
        assert (found == expected.numpy().astype(np.float16)).all()
        place += count
    assert place == len(numbers) == 304_906


def test_the_logits_are_those_of_the_rounded_weights(reader: VisionTransformer) -> None:
    kept = json.loads(FACTS.read_bytes())["logits"]
    found = np.array(example_logits(reader))
    np.testing.assert_allclose(found, kept, rtol=0, atol=1e-9)
    labels = [example.label for example in examples()]
    assert labels == sorted("0123456789" * 2)
    assert found.argmax(axis=1).tolist() == list(map(int, labels))


def test_rounding_leaves_the_model_itself_alone(reader: VisionTransformer) -> None:
    twin = rounded_model(reader)
    assert twin.head.weight.dtype == torch.float64
    assert reader.head.weight.dtype == torch.float32
    assert 0 < (twin.head.weight - reader.head.weight).abs().max() < 1e-3


def test_building_the_shipped_page_imports_no_torch() -> None:
    code = (
        "import sys; from clearhead.cli.page import build; build('digits');"
        "print(sorted({'torch', 'scipy', 'matplotlib'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_facts_of_other_weights_are_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("facts") / "digits.json"
    other.write_text(FACTS.read_text().replace('"sha256":"02', '"sha256":"12'))
    monkeypatch.setattr(shipped, "FACTS", other)
    with pytest.raises(CheckpointError, match="does not belong to the weights"):
        ready_page()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (ViTConfig(patch_size=2), "at most 65 tokens, this one has 196"),
        (ViTConfig(num_classes=41), "at most 40 classes, this one has 41"),
        (ViTConfig(depth=17), "at most 16 layers, this one has 17"),
        (ViTConfig(num_heads=32), "at most 16 heads a layer, this one has 32"),
    ],
)
def test_a_model_that_is_too_large_to_be_shown_is_refused(config: ViTConfig, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_config(config)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"own VisionTransformer, got .*ConvNet"):
        build_page(build(CNNConfig(widths=(3,))))


def test_weights_that_half_precision_cannot_hold_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"big holds numbers beyond ±65,504"):
        rounded({"big": np.array([1.0, 7e4])})
    with pytest.raises(ConfigError, match="at most 4,000,000 weights, this model has 4,000,001"):
        rounded({"many": np.zeros(4_000_001)})


def test_names_that_look_like_html_stay_names() -> None:
    config = ViTConfig(
        depth=1, embed_dim=8, num_heads=2, num_classes=2, class_names=("</script>", "b")
    )
    page = build_page(build(config), name="<b>&")
    assert "<b>&" not in page
    assert json.loads(block(page, "payload"))["settings"]["class_names"] == ["</script>", "b"]
    assert json.loads(block(page, "payload"))["name"] == "<b>&"
