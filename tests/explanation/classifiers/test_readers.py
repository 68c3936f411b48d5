import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import clearhead as ch
from clearhead.errors import CheckpointError, ConfigError, ImageError
from clearhead.explanation.classifiers import libraries
from clearhead.explanation.classifiers.named import open_reader
from clearhead.explanation.picture.explanation import explain
from clearhead.insight.tokens import Grid
from clearhead.models.build import build
from clearhead.models.config import ViTConfig

REGISTERS = tuple(f"register {i}" for i in range(1, 5))


@pytest.fixture
def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network: the hub does not answer, and nothing is in the cache."""

    class Gone:
        def head(self, *_: Any, **__: Any) -> None:
            raise OSError("no way there")

    monkeypatch.setattr("huggingface_hub.get_session", Gone)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_ours_come_by_name_and_from_a_folder(digits: list[Path], tmp_path: Path) -> None:
    reader = open_reader()
    assert (reader.name, reader.class_names) == ("digits", tuple("0123456789"))
    view = reader.look(digits[4])
    assert view.is_ink
    assert torch.equal(reader.model(view.inputs), ch.load()(view.inputs))
    assert reader.grid(view) == Grid(4, 4)
    torch.manual_seed(0)
    build(ViTConfig(depth=1, class_names=tuple("abcdefghij"))).save_pretrained(tmp_path)
    saved = open_reader(tmp_path)
    assert saved.class_names == tuple("abcdefghij")
    assert not saved.look(digits[4]).is_ink


def test_timm_reads_as_its_own_transform_does(timm_folder: Path, photo: Path) -> None:
    timm: Any = importlib.import_module("timm")
    reader = open_reader(f"timm:{timm_folder}")
    view = reader.look(photo)
    model = timm.create_model(f"local-dir:{timm_folder}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    expected = transform(Image.open(photo).convert("RGB"))[None]
    assert torch.equal(view.inputs, expected)
    assert torch.equal(reader.model(view.inputs), model(expected))
    assert view.pixels.shape == (3, 48, 32)
    assert reader.grid(view) == Grid(3, 2, 5, ("class token", *REGISTERS))
    assert reader.class_names == tuple(str(i) for i in range(11))


def test_what_timm_saw_is_shown_before_normalisation(timm_folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain.png"
    Image.new("RGB", (90, 90), (200, 100, 31)).save(plain)
    view = open_reader(f"timm:{timm_folder}").look(plain)
    expected = torch.tensor([200, 100, 31], dtype=torch.uint8).view(3, 1, 1).expand(3, 48, 32)
    assert torch.equal(view.pixels, expected)


def test_transformers_read_as_their_own_processor_does(hf_folder: Path, photo: Path) -> None:
    transformers: Any = importlib.import_module("transformers")
    reader = open_reader(f"hf:{hf_folder}")
    view = reader.look(photo)
    processor = transformers.AutoImageProcessor.from_pretrained(hf_folder)
    expected = processor(images=Image.open(photo).convert("RGB"), return_tensors="pt")
    assert torch.equal(view.inputs, expected["pixel_values"])
    model = transformers.AutoModelForImageClassification.from_pretrained(hf_folder).eval()
    assert torch.equal(reader.model(view.inputs).logits, model(**expected).logits)
    assert reader.class_names == ("cat", "dog", "hen")
    assert reader.warnings == ()
    assert reader.grid(view) == Grid(5, 5, 1, ("class token",))
    unscaled = view.inputs[0, :, 7, 3] * torch.tensor([0.4, 0.5, 0.6])
    pixel = (unscaled + torch.tensor([0.1, 0.2, 0.3])) * 255
    np.testing.assert_allclose(view.pixels[:, 7, 3], pixel, atol=0.51)


def test_a_folder_without_a_processor_is_read_with_a_warning(
    hf_folder: Path, photo: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((hf_folder / name).read_bytes())
    reader = open_reader(f"hf:{tmp_path}")
    (warning,) = reader.warnings
    assert "nothing is saved about how pictures are prepared" in warning
    view = reader.look(photo)
    torch.testing.assert_close(view.inputs[0], view.pixels / 255 * 2 - 1)
    assert explain(photo, reader).warnings[0] == warning


def test_weights_that_are_not_saved_are_a_warning(photo: Path, tmp_path: Path) -> None:
    from transformers import ViTConfig as HFConfig
    from transformers import ViTModel

    config = HFConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=16, patch_size=8,
    )  # fmt: skip
    ViTModel(config).save_pretrained(tmp_path)
    warnings = open_reader(f"hf:{tmp_path}").warnings
    assert "the answer is partly random: classifier.bias, classifier.weight" in warnings[0]


def test_every_maker_is_explained_and_proved(
    timm_folder: Path, hf_folder: Path, photo: Path
) -> None:
    for source, tokens in ((f"timm:{timm_folder}", 11), (f"hf:{hf_folder}", 26)):
        explanation = explain(photo, source)
        assert [layer.weights.shape for layer in explanation.layers] == [(1, 3, tokens, tokens)] * 2
        assert all(layer.on_grid for layer in explanation.layers)
        influences = (explanation.rollout, explanation.relevance, explanation.silencing)
        assert all(x.values is not None for x in influences)


def test_windows_are_shown_without_rollout(windows_folder: Path, photo: Path) -> None:
    explanation = explain(photo, f"timm:{windows_folder}")
    assert [layer.weights.shape for layer in explanation.layers] == [(4, 2, 16, 16), (1, 3, 16, 16)]
    assert explanation.label is not None
    assert "attends inside windows" in explanation.rollout.missing


def test_transformers_own_weights_are_those_that_are_kept(hf_folder: Path, photo: Path) -> None:
    from transformers import AutoModelForImageClassification

    reader = open_reader(f"hf:{hf_folder}")
    model = AutoModelForImageClassification.from_pretrained(hf_folder, attn_implementation="eager")
    with torch.no_grad():
        told = model.eval()(reader.look(photo).inputs, output_attentions=True).attentions
    for layer, weights in zip(explain(photo, reader).layers, told, strict=True):
        torch.testing.assert_close(layer.weights, weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("source", ["timm:", "hf:"])
def test_a_maker_without_a_model_is_an_error(source: str) -> None:
    with pytest.raises(ConfigError, match=f"^{source} names no model; give timm:vit_tiny"):
        open_reader(source)


def test_a_name_that_timm_lacks_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no such folder; did you mean timm:vit_tiny_patch16_224"):
        open_reader("timm:vit_tiny_patch16_223")


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_library_that_is_not_installed_is_told(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    source = {"timm": "timm:vit_tiny_patch16_224", "transformers": "hf:/nowhere"}[library]
    with pytest.raises(ConfigError, match=f"install it: pip install {library}$") as error:
        open_reader(source)
    assert str(error.value).startswith(f"{source} needs the library {library}")
    assert "\n" not in str(error.value)


@pytest.mark.usefixtures("out_of_reach")
@pytest.mark.parametrize("source", ["timm:vit_tiny_patch16_224", "hf:owner/name", "owner/name"])
def test_without_a_network_the_error_is_one_line_and_says_what_to_do(
    source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(CheckpointError) as error:
        open_reader(source)
    message = str(error.value)
    assert "\n" not in message
    assert source in message
    assert "folder" in message.lower()
    assert not constants.HF_HUB_OFFLINE
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("out_of_reach")
def test_a_hub_out_of_reach_is_not_asked_again() -> None:
    with libraries.fetching_weights("it", "a folder", is_here=False):
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    with libraries.fetching_weights("it", "a folder", is_here=True):
        assert constants.HF_HUB_OFFLINE  # a folder's own files refer to nothing elsewhere


def test_a_hub_that_answers_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        def head(self, *_: Any, **__: Any) -> None:
            return None

    monkeypatch.setattr("huggingface_hub.get_session", There)
    with libraries.fetching_weights("it", "a folder", is_here=False):
        assert not constants.HF_HUB_OFFLINE


@pytest.mark.usefixtures("out_of_reach")
def test_a_folder_needs_no_network(timm_folder: Path, hf_folder: Path) -> None:
    assert open_reader(f"timm:{timm_folder}").class_names
    assert open_reader(f"hf:{hf_folder}").class_names


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "a/b/c"])
def test_a_folder_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"^there is no folder {name}; give hf:FOLDER"):
        open_reader(f"hf:{name}")


def test_a_folder_with_something_else_is_told(tmp_path: Path) -> None:
    for source in (f"timm:{tmp_path}", f"hf:{tmp_path}", str(tmp_path)):
        with pytest.raises(CheckpointError) as error:
            open_reader(source)
        assert str(tmp_path) in str(error.value)
        assert "\n" not in str(error.value)


def test_only_checked_pictures_reach_a_model(timm_folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    Image.new("RGB", (50, 50)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-30])
    with pytest.raises(ImageError, match="damaged or cut"):
        open_reader(f"timm:{timm_folder}").look(cut)


def test_a_damaged_import_is_not_taken_for_a_missing_network(tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match=r"^it cannot be loaded \(broken\); give a folder$"),
        libraries.fetching_weights("it", "a folder", is_here=True),
    ):
        raise FileNotFoundError("broken")


def test_a_torchvision_that_does_not_fit_torch_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from clearhead.explanation.classifiers.libraries import import_library

    def fails(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand a page more")

    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(
        ConfigError, match=r"does not fit this torch \(.*nms does not exist\)"
    ) as told:
        import_library("timm", "timm:vit")
    assert "\n" not in str(told.value)
    assert str(told.value).endswith("pip install --force-reinstall torch torchvision")
