"""A model in the wrong reader's hands is told in one line where it belongs."""

import importlib
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from clearhead.errors import CheckpointError, ClearheadError
from clearhead.explanation.classifiers.libraries import fetching_weights
from clearhead.explanation.classifiers.named import open_reader
from clearhead.explanation.text.attend import open_text_reader
from clearhead.models.build import build
from clearhead.models.config import ViTConfig
from clearhead.models.pretrained import library_of


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT without a tokenizer."""
    transformers: Any = importlib.import_module("transformers")
    folder = tmp_path_factory.mktemp("bert")
    config = transformers.BertConfig(
        vocab_size=13,
        hidden_size=14,
        num_hidden_layers=1,
        num_attention_heads=7,
        intermediate_size=11,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def own(tmp_path: Path) -> Path:
    build(ViTConfig(depth=1)).save_pretrained(tmp_path / "own")
    return tmp_path / "own"


def refused(source: str, *, text: bool = False) -> str:
    with pytest.raises(ClearheadError) as caught:
        (open_text_reader if text else open_reader)(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_library_is_known_by_its_configuration(
    timm_folder: Path, hf_folder: Path, own: Path
) -> None:
    assert library_of(json.loads((timm_folder / "config.json").read_bytes())) == "timm"
    assert library_of(json.loads((hf_folder / "config.json").read_bytes())) == "transformers"
    assert library_of(json.loads((own / "config.json").read_bytes())) == "Clearhead"
    assert library_of({}) is None
    assert library_of({"architecture": "vit", "pretrained_cfg": {}}) == "timm"
    assert library_of({"architecture": "VisionTransformer", "model": {}}) == "Clearhead"


def test_a_folder_of_another_library_is_told_with_its_own_name(
    timm_folder: Path, hf_folder: Path, own: Path
) -> None:
    assert refused(f"timm:{hf_folder}") == (
        f"{hf_folder} holds no model of timm (its config.json names no architecture); "
        f"hf:{hf_folder} for a model of transformers"
    )
    said = f"{timm_folder} holds no model of transformers (its config.json names no model_type)"
    assert refused(f"hf:{timm_folder}") == f"{said}; timm:{timm_folder} for a model of timm"
    assert refused(f"hf:{timm_folder}", text=True).startswith(said)
    assert refused(f"timm:{own}").endswith(f"; {own} for a model of Clearhead")


def test_an_empty_folder_is_told_how_a_model_gets_there(tmp_path: Path) -> None:
    assert refused(f"timm:{tmp_path}") == (
        f"{tmp_path} holds no model of timm (it has no config.json); save one there: "
        "timm.models.save_for_hf(model, FOLDER, safe_serialization=True)"
    )
    assert "save one there: model.save_pretrained(FOLDER)" in refused(f"hf:{tmp_path}")


def test_text_models_are_shown_by_attend_and_pictures_by_explain(
    bert: Path, hf_folder: Path
) -> None:
    assert refused(f"hf:{bert}") == (
        f"{bert} is a text model (bert); attend shows it: clearhead attend --model hf:{bert}"
    )
    said = refused(f"hf:{hf_folder}", text=True)
    assert said.startswith(f"{hf_folder} is a model of pictures (vit), which have no words; ")
    assert f"clearhead explain PICTURE --model hf:{hf_folder}" in said


def test_a_missing_tokenizer_is_told_with_the_call_that_saves_it(
    bert: Path, tmp_path: Path
) -> None:
    """The library makes up one for a BERT, which knows no word."""
    assert refused(f"hf:{bert}", text=True) == (
        f"no tokenizer in {bert}; save it beside the model: tokenizer.save_pretrained(FOLDER)"
    )
    broken = tmp_path / "broken"
    shutil.copytree(bert, broken)
    (broken / "tokenizer.json").write_text("{}")
    said = refused(f"hf:{broken}", text=True)
    assert said.startswith(f"no tokenizer in {broken}; save it beside the model: ")
    assert said.endswith(")")
    assert len(said) < 300


class Bomb:
    """When it is unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("maker", ["timm", "hf"])
def test_a_folder_with_only_a_pickle_is_refused_unread(
    maker: str, timm_folder: Path, hf_folder: Path, tmp_path: Path
) -> None:
    folder, boom = tmp_path / "model", tmp_path / "boom"
    shutil.copytree({"timm": timm_folder, "hf": hf_folder}[maker], folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(boom)))
    said = refused(f"{maker}:{folder}")
    assert said.startswith(f"{folder} holds no model.safetensors, and a pickle such as pytorch_")
    assert ("safe_serialization=True" in said) == (maker == "timm")
    assert not boom.exists()


def test_what_timm_saves_by_default_is_refused(timm_folder: Path, tmp_path: Path) -> None:
    timm: Any = importlib.import_module("timm")
    model = timm.create_model(f"local-dir:{timm_folder}", pretrained=True)
    timm.models.save_for_hf(model, str(tmp_path / "model"))
    assert (tmp_path / "model" / "pytorch_model.bin").exists()
    assert "save the model with timm.models.save_for_hf(" in refused(f"timm:{tmp_path / 'model'}")


def test_no_library_reads_a_pickle_while_weights_are_fetched(tmp_path: Path) -> None:
    """As timm would for a model on the hub that has no safetensors."""
    timm: Any = importlib.import_module("timm")
    torch.save({"a": torch.ones(3)}, tmp_path / "model.pth")
    load = torch.load
    with (
        pytest.raises(CheckpointError, match=r"^the weights of it are a pickle, which is never"),
        fetching_weights("it", "a folder", is_here=True),
    ):
        timm.models.load_state_dict(str(tmp_path / "model.pth"))
    assert torch.load is load
    assert timm.models.load_state_dict(str(tmp_path / "model.pth"))["a"].tolist() == [1, 1, 1]
