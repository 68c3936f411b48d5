"""Models of Clearhead, timm and transformers as classifiers, and models that are refused."""

import importlib
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from PIL import Image

import clearhead as ch
from clearhead.errors import CheckpointError, ClearheadError, ConfigError, ImageError
from clearhead.explanation import ImageClassifier, TextModel, explain, open_classifier
from clearhead.explanation._libraries import _is_image_classifier
from clearhead.insight import Grid
from clearhead.models import ViTConfig, build
from clearhead.models._libraries import import_library, loading_weights

REGISTERS = tuple(f"register {i}" for i in range(1, 5))


def image_classifier(source: str | Path) -> ImageClassifier:
    classifier = open_classifier(source)
    assert isinstance(classifier, ImageClassifier)
    return classifier


def refusal(source: str | Path) -> str:
    with pytest.raises(ClearheadError) as caught:
        open_classifier(source)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.fixture
def out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network: the hub does not respond, and nothing is in the cache."""

    class Gone:
        def head(self, *_: Any, **__: Any) -> None:
            raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.get_session", Gone)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def test_our_models_come_by_name_and_from_a_folder(digits: list[Path], tmp_path: Path) -> None:
    classifier = image_classifier("digits")
    assert (classifier.name, classifier.class_names) == ("digits", tuple("0123456789"))
    model_input = classifier.preprocess(digits[4])
    assert model_input.is_ink
    assert torch.equal(classifier.model(model_input.inputs), ch.load()(model_input.inputs))
    assert classifier.grid(model_input) == Grid(4, 4)
    torch.manual_seed(0)
    build(ViTConfig(depth=1, class_names=tuple("abcdefghij"))).save_pretrained(tmp_path)
    saved = image_classifier(tmp_path)
    assert saved.class_names == tuple("abcdefghij")
    assert not saved.preprocess(digits[4]).is_ink
    assert isinstance(open_classifier("sentences-causal"), TextModel)


def test_timm_models_get_the_input_of_their_own_transform(timm_folder: Path, photo: Path) -> None:
    timm: Any = importlib.import_module("timm")
    classifier = image_classifier(f"timm:{timm_folder}")
    model_input = classifier.preprocess(photo)
    model = timm.create_model(f"local-dir:{timm_folder}", pretrained=True).eval()
    settings = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**settings, is_training=False)
    expected = transform(Image.open(photo).convert("RGB"))[None]
    assert torch.equal(model_input.inputs, expected)
    assert torch.equal(classifier.model(model_input.inputs), model(expected))
    assert classifier.grid(model_input) == Grid(3, 2, 5, ("class token", *REGISTERS))
    assert classifier.class_names == tuple(str(i) for i in range(11))
    plain = classifier.preprocess(Image.new("RGB", (90, 90), (200, 100, 31)))
    colour = torch.tensor([200, 100, 31], dtype=torch.uint8).view(3, 1, 1)
    assert torch.equal(plain.pixels, colour.expand(3, 48, 32))


def test_opening_a_model_leaves_the_random_state_as_it_is(
    timm_folder: Path, hf_folder: Path
) -> None:
    for source in ("digits", f"timm:{timm_folder}", f"hf:{hf_folder}"):
        before = torch.get_rng_state()
        open_classifier(source)
        assert torch.get_rng_state().equal(before)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_a_model_of_another_number_type_is_explained(
    dtype: torch.dtype, digits: list[Path]
) -> None:
    explanation = ch.explain(ch.load().to(dtype), digits[4])
    assert explanation.prediction.label == ch.predict(ch.load(), digits[4]).label


def test_transformers_models_get_the_input_of_their_own_processor(
    hf_folder: Path, photo: Path
) -> None:
    transformers: Any = importlib.import_module("transformers")
    classifier = image_classifier(f"hf:{hf_folder}")
    model_input = classifier.preprocess(photo)
    processor = transformers.AutoImageProcessor.from_pretrained(hf_folder)
    expected = processor(images=Image.open(photo).convert("RGB"), return_tensors="pt")
    assert torch.equal(model_input.inputs, expected["pixel_values"])
    assert (classifier.class_names, classifier.warnings) == (("cat", "dog", "hen"), ())
    assert classifier.grid(model_input) == Grid(5, 5, 1, ("class token",))
    unscaled = model_input.inputs[0, :, 7, 3] * torch.tensor([0.4, 0.5, 0.6])
    pixel = (unscaled + torch.tensor([0.1, 0.2, 0.3])) * 255
    np.testing.assert_allclose(model_input.pixels[:, 7, 3], pixel, atol=0.51)


def test_explained_weights_are_those_that_transformers_returns(
    hf_folder: Path, photo: Path
) -> None:
    from transformers import AutoModelForImageClassification

    classifier = image_classifier(f"hf:{hf_folder}")
    model = AutoModelForImageClassification.from_pretrained(hf_folder, attn_implementation="eager")
    with torch.no_grad():
        output = model.eval()(classifier.preprocess(photo).inputs, output_attentions=True)
    explanation = explain(classifier, photo)
    for layer, weights in zip(explanation.layers, output.attentions, strict=True):
        torch.testing.assert_close(layer.weights, weights, atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(
        explanation.prediction.probabilities, output.logits.softmax(1)[0], rtol=1e-5
    )
    measures = dict(explanation.influences)
    assert "at most 16 patches, and this model has 25" in measures.pop("shapley").reason
    assert all(influence.values is not None for influence in measures.values())


def test_a_folder_without_a_processor_is_opened_with_a_warning(
    hf_folder: Path, photo: Path, tmp_path: Path
) -> None:
    for name in ("config.json", "model.safetensors"):
        shutil.copy(hf_folder / name, tmp_path)
    classifier = image_classifier(f"hf:{tmp_path}")
    (warning,) = classifier.warnings
    assert "no image processor is saved" in warning
    model_input = classifier.preprocess(photo)
    torch.testing.assert_close(model_input.inputs[0], model_input.pixels / 255 * 2 - 1)
    assert explain(classifier, photo).prediction.warnings[0] == warning


@pytest.mark.parametrize(
    ("config", "head", "expected"),
    [
        ("ViTConfig", "ViTModel", True),
        ("BertConfig", "BertModel", False),
        ("PerceiverConfig", "PerceiverForMaskedLM", False),
        ("PerceiverConfig", "PerceiverForImageClassificationLearned", True),
    ],
)
def test_a_model_of_pictures_or_texts_is_what_its_saved_head_is_for(
    config: str, head: str, expected: bool
) -> None:
    transformers: Any = importlib.import_module("transformers")
    saved = getattr(transformers, config)(architectures=[head])
    assert _is_image_classifier(transformers, saved) == expected


def test_without_a_processor_the_size_of_a_picture_must_be_known(tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    message = refusal(f"hf:{tmp_path}")
    assert "no image processor is saved with this ResNetForImageClassification; save it" in message


def test_missing_weights_are_a_warning(tmp_path: Path) -> None:
    from transformers import ViTConfig as HFConfig
    from transformers import ViTModel

    config = HFConfig(
        hidden_size=12, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        image_size=16, patch_size=8,
    )  # fmt: skip
    ViTModel(config).save_pretrained(tmp_path)
    warnings = image_classifier(f"hf:{tmp_path}").warnings
    assert "prediction is partly random: classifier.bias, classifier.weight" in warnings[0]


@pytest.mark.parametrize("source", ["timm:", "hf:"])
def test_a_library_without_a_model_name_is_an_error(source: str) -> None:
    assert refusal(source).startswith(f"{source} names no model; give timm:vit_tiny")


def test_an_unknown_timm_name_gets_the_nearest_one() -> None:
    message = refusal("timm:vit_tiny_patch16_223")
    assert message.endswith("no such folder; did you mean timm:vit_tiny_patch16_224?")


@pytest.mark.parametrize("library", ["timm", "transformers"])
def test_a_library_that_is_not_installed_is_named(
    library: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    source = {"timm": "timm:vit_tiny_patch16_224", "transformers": "hf:/nowhere"}[library]
    message = refusal(source)
    assert message.startswith(f"{source} needs the library {library}")
    assert message.endswith(f"install it: pip install {library}")


def test_a_torchvision_that_does_not_fit_torch_is_an_error_of_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist\nand a page more")

    monkeypatch.setattr(importlib, "import_module", fails)
    with pytest.raises(ConfigError, match=r"\(.*nms does not exist\); install the two") as caught:
        import_library("timm", "timm:vit")
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("out_of_reach")
@pytest.mark.parametrize("source", ["timm:vit_tiny_patch16_224", "hf:owner/name", "owner/name"])
def test_without_a_network_the_error_suggests_what_to_do(
    source: str, capfd: pytest.CaptureFixture[str]
) -> None:
    message = refusal(source)
    assert source in message
    assert "the Hugging Face hub cannot be reached" in message
    assert "folder" in message.lower()
    assert capfd.readouterr().err == ""


def test_files_are_fetched_only_if_the_hub_can_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        def head(self, *_: Any, **__: Any) -> None:
            return None

    monkeypatch.setattr("huggingface_hub.get_session", There)
    with loading_weights("it", "a folder", is_local=False) as reachable:
        assert reachable
    with loading_weights("it", "a folder", is_local=True) as reachable:
        assert not reachable


def test_failures_in_a_local_folder_are_not_reported_as_network_errors() -> None:
    with (
        pytest.raises(CheckpointError, match=r"^it cannot be loaded \(broken\); give a folder$"),
        loading_weights("it", "a folder", is_local=True),
    ):
        raise FileNotFoundError("broken")


def test_only_valid_pictures_reach_a_model(timm_folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    Image.new("RGB", (50, 50)).save(cut)
    cut.write_bytes(cut.read_bytes()[:-5])
    with pytest.raises(ImageError):
        image_classifier(f"timm:{timm_folder}").preprocess(cut)


def test_a_folder_of_another_library_is_refused_with_its_own_name(
    timm_folder: Path, hf_folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    build(ViTConfig(depth=1)).save_pretrained(own)
    assert refusal(f"timm:{hf_folder}") == (
        f"{hf_folder} holds no model of timm (transformers wrote its config.json); "
        f"hf:{hf_folder} for a model of transformers"
    )
    assert refusal(f"hf:{timm_folder}") == (
        f"{timm_folder} holds no model of transformers (timm wrote its config.json); "
        f"timm:{timm_folder} for a model of timm"
    )
    assert refusal(f"timm:{own}").endswith(f"; {own} for a model of Clearhead")
    empty = tmp_path / "empty"
    empty.mkdir()
    message = refusal(f"timm:{empty}")
    assert "(it has no config.json); save one there: timm.models.save_for_hf(" in message
    assert "save one there: model.save_pretrained(FOLDER)" in refusal(f"hf:{empty}")
    assert str(empty) in refusal(empty)


class Bomb:
    """When it is unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("library", ["timm", "hf"])
def test_a_folder_with_only_a_pickle_is_refused_unread(
    library: str, timm_folder: Path, hf_folder: Path, tmp_path: Path
) -> None:
    folder, boom = tmp_path / "model", tmp_path / "boom"
    shutil.copytree({"timm": timm_folder, "hf": hf_folder}[library], folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(boom)))
    message = refusal(f"{library}:{folder}")
    assert message.startswith(f"{folder} holds no model.safetensors, and a pickle such as pytorch_")
    assert ("safe_serialization=True" in message) == (library == "timm")
    assert not boom.exists()


@pytest.mark.parametrize("name", ["test_vit", "hf-hub:owner/name"])
def test_timm_models_on_the_hub_are_loaded_from_safetensors_or_not_at_all(
    name: str, timm_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timm: Any = importlib.import_module("timm")
    folder = tmp_path / "snapshot"
    shutil.copytree(timm_folder, folder)
    if name == "test_vit":
        model = timm.create_model(name)
        timm.models.save_for_hf(model, str(folder), safe_serialization=True)
    else:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_, **__: str(folder))
    monkeypatch.setattr("clearhead.models._libraries.hub_is_reachable", lambda: True)
    loaded = image_classifier(f"timm:{name}").model.state_dict()
    assert all(torch.equal(x, loaded[key]) for key, x in model.state_dict().items())
    boom = tmp_path / "boom"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(boom)))
    assert "are a pickle, which is never loaded" in refusal(f"timm:{name}")
    assert not boom.exists()


@pytest.mark.usefixtures("out_of_reach")
@pytest.mark.parametrize("kind", ["picture", "text"])
def test_weights_of_a_repository_are_loaded_from_safetensors_or_not_at_all(
    kind: str, hf_folder: Path, tmp_path: Path
) -> None:
    import transformers

    snapshot = tmp_path / "hub" / "models--owner--name" / "snapshots" / "0"
    if kind == "picture":
        shutil.copytree(hf_folder, snapshot)
    else:
        config = transformers.BertConfig(
            vocab_size=7, hidden_size=4, num_hidden_layers=1, num_attention_heads=1,
            intermediate_size=4,
        )  # fmt: skip
        transformers.BertModel(config).save_pretrained(snapshot)
        (snapshot / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\ndog\n")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0")
    model = open_classifier("hf:owner/name").model
    (snapshot / "model.safetensors").unlink()
    torch.save(model.state_dict(), snapshot / "pytorch_model.bin")
    assert "cannot be loaded" in refusal("hf:owner/name")
