"""Saved models are loaded bit for bit, or not at all."""

import json
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clearhead._atomic import TEMPORARY_PREFIX, sha256
from clearhead.errors import CheckpointError, ClearheadError, StorageError
from clearhead.models import build, load
from clearhead.models.baselines import ConvNet
from clearhead.models.config import CNNConfig, ImageModelConfig, MLPConfig, ViTConfig
from clearhead.models.pretrained import CONFIG, WEIGHTS, ImageModel
from clearhead.models.vit import VisionTransformer
from tests.test_atomic import files_limited_to

SMALL: dict[str, Any] = {"image_size": (6, 9), "num_classes": 3, "class_names": ("a", "b", "ç")}
VIT = ViTConfig(**SMALL, patch_size=3, embed_dim=4, depth=1, num_heads=2, mlp_ratio=1.0)
CONFIGS = [
    VIT,
    ViTConfig(
        **SMALL,
        patch_size=(2, 3),
        embed_dim=8,
        depth=2,
        pool="class",
        pos_embed="sincos",
        attention_scale="learned",
        in_channels=3,
        mean=(0.1, 0.2, 0.7),
        std=(0.3, 1 / 3, 2.0),
    ),
    ViTConfig(patch_size=14, embed_dim=4, depth=1, pos_embed="none", attention_scale=0.37),
    MLPConfig(**SMALL, patch_size=3, embed_dim=5, depth=2),
    CNNConfig(**SMALL, widths=(3, 5)),
]


def trained(config: ImageModelConfig = VIT, seed: int = 0) -> ImageModel:
    """All numbers random, statistics of batch norm too."""
    torch.manual_seed(seed)
    model = build(config)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.rand(tensor.shape) + 0.5)
    return model


def same(one: ImageModel, other: ImageModel) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return (
        type(one) is type(other)
        and one.config == other.config
        and mine.keys() == yours.keys()
        and all(x.equal(yours[name]) for name, x in mine.items())
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    trained().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def refusal(folder: Path) -> str:
    """The message of the error for a damaged folder: one line."""
    with pytest.raises(CheckpointError) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the settings by hand, without their digest."""
    saved = json.loads((folder / CONFIG).read_bytes())
    saved.pop("config_sha256", None)
    change(saved)
    (folder / CONFIG).write_text(json.dumps(saved))


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: type(config).__name__)
def test_a_saved_model_is_loaded_bit_for_bit(config: ImageModelConfig, tmp_path: Path) -> None:
    model = trained(config)
    model.save_pretrained(tmp_path)
    for found in (load(tmp_path), load(str(tmp_path)), type(model).from_pretrained(tmp_path)):
        assert same(found, model)
        assert not found.training
    images = torch.randn(2, config.in_channels, *config.image_shape)
    with torch.no_grad():
        assert load(tmp_path)(images).equal(model.eval()(images))


def test_loading_leaves_the_random_state_as_it_is(folder: Path) -> None:
    before = torch.get_rng_state()
    load(folder)
    assert torch.get_rng_state().equal(before)


def test_the_folder_holds_weights_settings_and_a_card(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", CONFIG, WEIGHTS]
    saved = json.loads((folder / CONFIG).read_bytes())
    assert saved["architecture"] == "VisionTransformer"
    assert saved["model"]["embed_dim"] == 4
    assert saved["sha256"] == sha256((folder / WEIGHTS).read_bytes())


def test_saving_twice_gives_the_same_bytes_and_keeps_a_card_written_by_hand(folder: Path) -> None:
    before = {name: (folder / name).read_bytes() for name in (CONFIG, WEIGHTS)}
    (folder / "README.md").write_text("mine")
    (folder / f"{TEMPORARY_PREFIX}7-{WEIGHTS}").write_bytes(b"left by a kill")
    trained().save_pretrained(folder)
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert (folder / "README.md").read_text() == "mine"
    assert not list(folder.glob(f"{TEMPORARY_PREFIX}*"))


def test_a_model_is_pushed_with_the_files_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed: dict[str, Any] = {}

    class Hub:
        def __init__(self, token: str) -> None:
            pushed["token"] = token

        def create_repo(self, repo_id: str, **_: object) -> "Hub":
            self.repo_id = repo_id
            return self

        def upload_folder(self, repo_id: str, folder_path: Path, **_: object) -> str:
            files = {path.name: path.read_bytes() for path in folder_path.iterdir()}
            pushed.update(name=repo_id, files=files)
            return "address"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    model = trained()
    for name, card in ((None, None), ("me/mine", {"language": "en"})):
        options: dict[str, Any] = {"repo_id": name, "model_card_kwargs": card, "token": "secret"}
        assert model.save_pretrained(tmp_path / f"{name}", push_to_hub=True, **options) == "address"
        files = {path.name: path.read_bytes() for path in (tmp_path / f"{name}").iterdir()}
        assert pushed == {"token": "secret", "name": name or "None", "files": files}
        assert (b"clearhead.load" in files["README.md"]) is (card is None)


def test_options_of_the_hub_are_those_of_every_download(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def download(source: str, name: str, **options: Any) -> str:
        calls.append((source, name, options))
        return str(folder / name)

    monkeypatch.setattr("clearhead.models.pretrained.hf_hub_download", download)
    monkeypatch.setattr("clearhead.models.pretrained.hub_is_reachable", lambda _: True)
    assert same(load("me/mine", revision="v2", token="secret"), trained())
    assert {name for _, name, _ in calls} == {CONFIG, WEIGHTS}
    expected = {"revision": "v2", "token": "secret", "local_files_only": False}
    assert all((source, options) == ("me/mine", expected) for source, _, options in calls)


def test_settings_of_an_older_version_get_the_default_thresholds(folder: Path) -> None:
    edited(
        folder, lambda saved: [saved["model"].pop(x) for x in ("doubtful_below", "rejected_below")]
    )
    config = load(folder).config
    assert isinstance(config, ImageModelConfig)
    assert (config.doubtful_below, config.rejected_below) == (0.6, 0.0)


def test_weights_in_half_precision_are_loaded_exactly(tmp_path: Path) -> None:
    model = trained().half()
    model.save_pretrained(tmp_path)
    found = load(tmp_path)
    assert same(found.half(), model)
    assert all(x.dtype == torch.float32 for x in load(tmp_path).state_dict().values())
    assert (tmp_path / WEIGHTS).stat().st_size < 3000


def test_transposed_weights_are_saved(tmp_path: Path) -> None:
    model = trained()
    assert isinstance(model, VisionTransformer)
    model.head.weight.data = torch.rand(4, 3).T
    model.save_pretrained(tmp_path)
    assert same(load(tmp_path), model)


def test_weights_with_a_flipped_missing_or_extra_byte_are_an_error(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    size = len(content)
    damaged = [content[:length] for length in {*range(0, size, 127), 1, 7, 8, size - 1}]
    damaged += [content + b"\0"]
    for place in {*range(0, size, 113), *range(16), size - 1}:
        flipped = bytes([content[place] ^ 1 << place % 8])
        damaged.append(content[:place] + flipped + content[place + 1 :])
    for weights in damaged:
        (folder / WEIGHTS).write_bytes(weights)
        assert "model.safetensors is damaged" in refusal(folder)


def test_a_flipped_byte_of_the_settings_is_an_error_or_has_no_effect(folder: Path) -> None:
    content = (folder / CONFIG).read_bytes()
    model, harmless = trained(), 0
    for place in range(0, len(content), 2):
        damaged = bytearray(content)
        damaged[place] ^= (0x01, 0x04, 0x20)[place % 3]
        (folder / CONFIG).write_bytes(damaged)
        try:
            found = load(folder)
        except CheckpointError:
            continue
        assert same(found, model)
        harmless += 1
    assert harmless < len(content) / 6


def test_settings_changed_by_hand_need_their_digest_removed(folder: Path) -> None:
    saved = json.loads((folder / CONFIG).read_bytes())
    saved["model"]["class_names"] = ["x", "y", "z"]
    (folder / CONFIG).write_text(json.dumps(saved))
    assert "changed since it was saved" in refusal(folder)
    assert 'remove the line "config_sha256"' in refusal(folder)
    edited(folder, lambda saved: None)
    assert load(folder).config.class_names == ("x", "y", "z")


@pytest.mark.unchecked
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"patches": 7, "sise": 3}},
         r"unknown settings \['patches', 'sise'\]; expected \['attention_scale', .+\]"),
        ({"extra": 1}, "config.json must hold .+, got .+'extra'.+"),
        ({"sha256": None}, "config.json must hold"),
        ({"architecture": "Oracle"}, r"'Oracle'; expected one of \['ConvNet', 'PatchMLP', 'Text"),
        ({"architecture": ["VisionTransformer"]}, "is not one of Clearhead's"),
        ({"model": [1]}, "is not one of Clearhead's"),
        ({"sha256": 7}, "is not one of Clearhead's"),
        ({"model": {"num_heads": 3}}, "must be divisible by num_heads"),
        ({"model": {"depth": "six"}}, "depth must be an integer of at least 1, got 'six'"),
        ({"model": {"image_size": [6, 9, 9]}}, "image_size must be a positive"),
        ({"model": {"depth": 2}}, "does not fit the model: Missing .*blocks.1.attn.proj.bias"),
        ({"model": {"pos_embed": "none"}}, "does not fit the model: Unexpected .*pos_embed"),
        ({"model": {"num_classes": 5, "class_names": []}},
         r"does not fit the model: size mismatch for head.bias: .*\[3\].*\[5\]"),
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_an_error(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    def change(saved: dict[str, Any]) -> None:
        for name, value in changes.items():
            saved[name] = saved[name] | value if isinstance(value, dict) else value
            if value is None:
                del saved[name]

    edited(folder, change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"7", b"null", b"\xff\xfe{}", b'{"model": NaN}', b"\0" * 64, b"[" * 100_000],
)
def test_a_config_that_is_not_one_is_an_error(folder: Path, content: bytes) -> None:
    (folder / CONFIG).write_bytes(content)
    assert "config.json" in refusal(folder)


def test_the_folder_of_an_unfinished_training_is_an_error_that_suggests_resuming(
    tmp_path: Path,
) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert refusal(tmp_path) == (
        f"the training in {tmp_path} is not finished; run the same train command again to continue"
    )


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert refusal(folder) == f"{folder} holds no {name}; is it a saved model?"
    (folder / name).mkdir()
    assert refusal(folder) == f"{folder} holds no {name}; is it a saved model?"


def test_nan_among_the_weights_is_an_error(tmp_path: Path) -> None:
    model = trained()
    model.state_dict()["head.weight"][1, 2] = float("nan")
    model.save_pretrained(tmp_path)
    assert "head.weight holds NaN or infinity" in refusal(tmp_path)


class Bomb:
    """When it is unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_pickle_is_ever_read(folder: Path, tmp_path: Path) -> None:
    bomb = pickle.dumps({"head.weight": Bomb(tmp_path / "boom")})
    names = ("pytorch_model.bin", "model.pt", "model.pkl", "model.ckpt", "model.bin")
    for name in names:
        (folder / name).write_bytes(bomb)
    assert same(load(folder), trained())
    (folder / WEIGHTS).write_bytes(bomb)
    assert "damaged" in refusal(folder)
    edited(folder, lambda saved: saved.update(sha256=sha256(bomb)))
    assert "is not a safetensors file" in refusal(folder)
    (folder / WEIGHTS).unlink()
    assert "holds no model.safetensors" in refusal(folder)
    assert not (tmp_path / "boom").exists()
    pickle.loads(bomb)
    assert (tmp_path / "boom").exists()  # the bomb works


def test_a_model_of_another_class_is_an_error(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds a VisionTransformer, not a ConvNet; use"):
        ConvNet.from_pretrained(folder)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        *((x, "^no model at '.*': give a folder with") for x in ("no-such", "nul\0byte", "a\nb")),
        *(
            (x, f"^there is no folder {x};")  # perhaps with the name of a similar one
            for x in ("a/b/c", "/no", "./no", "../no", "~/no", "a/b.safetensors", "a/")
        ),
        ("./a\nb", r"^there is no folder '\./a\\nb'; give a folder"),
        (__file__, r"test_pretrained\.py is a file; a model is a folder; give"),
        *((x, f"^{x}: only .* load models of timm") for x in ("hf:google/vit", "hf:./vit")),
    ],
)
def test_a_source_that_is_not_a_folder_is_an_error_without_a_request_to_the_hub(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.models.pretrained.hf_hub_download", None)  # cannot be called
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load(source)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["runs/lettres", "./runs/lettres", "run", "runs/letter/"])
def test_a_folder_with_a_similar_name_is_suggested_without_a_request(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clearhead.models.pretrained.hub_is_reachable", None)  # cannot be called
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "letters").mkdir(parents=True)
    similar = "runs" if source == "run" else "runs/letters"
    with pytest.raises(CheckpointError, match=rf"did you mean {similar}\?"):
        load(source)


@pytest.mark.parametrize(
    ("saved", "called"),
    [
        ({"model_type": "vit", "architectures": ["ViTModel"]}, "hf:"),
        ({"architecture": "vit_tiny_patch16_224", "pretrained_cfg": {}}, "timm:"),
    ],
)
def test_a_folder_of_another_library_is_an_error_with_the_name_to_use(
    saved: dict[str, Any], called: str, tmp_path: Path
) -> None:
    (tmp_path / CONFIG).write_text(json.dumps(saved))
    assert refusal(tmp_path).endswith(f"`clearhead attend` (text) load it as {called}{tmp_path}")


UNREACHABLE = "the Hugging Face hub cannot be reached, and no copy is in the cache"


@pytest.mark.parametrize("setting", ["", "HF_HUB_OFFLINE", "local_files_only"])
@pytest.mark.parametrize(
    ("source", "reason"),
    [("nobody/nothing", UNREACHABLE), ("not valid/--", "the Hugging Face hub")],
)
def test_an_unreachable_hub_and_offline_mode_are_errors_of_one_line_without_delay(
    source: str,
    reason: str,
    setting: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The hub's own library tries for half a minute, with a line on stderr for each time."""
    download: dict[str, Any] = {"endpoint": "http://127.0.0.1:9", "cache_dir": tmp_path}
    download |= {"local_files_only": True} if setting == "local_files_only" else {}
    # what the environment variable of this name sets
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", setting == "HF_HUB_OFFLINE")
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    with pytest.raises(CheckpointError, match=f"^'{source}' is not a folder, .*{reason}") as caught:
        load(source, **download)
    assert pauses == []
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("; give a folder with config.json and model.safetensors")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("limit", [0, 409, 1009, 20_011])
def test_a_full_disk_keeps_the_old_model(limit: int, tmp_path: Path) -> None:
    """At 409 bytes the disk is full during the weights, at 20,011 only during the settings."""
    long = ViTConfig(**(vars(VIT) | {"class_names": ("a" * 10_007, "b" * 10_009, "c")}))
    old, new = trained(seed=1), trained(long, seed=2)
    old.save_pretrained(tmp_path)
    with files_limited_to(limit), pytest.raises(StorageError, match="File too large"):
        new.save_pretrained(tmp_path)
    assert same(load(tmp_path), old)
    assert not list(tmp_path.glob(f"{TEMPORARY_PREFIX}*"))
    new.save_pretrained(tmp_path)
    assert same(load(tmp_path), new)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match=r"^cannot write ") as caught:
        trained().save_pretrained(tmp_path / "file" / "model")
    assert isinstance(caught.value, ClearheadError)
