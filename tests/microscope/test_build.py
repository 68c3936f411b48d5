"""Building the page in Python: joined modules, payload, refusals."""

import base64
import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clearhead.errors import CheckpointError, ConfigError
from clearhead.microscope import build_page, shipped, shipped_page
from clearhead.microscope._build import join_modules
from clearhead.microscope._payload import check_config, examples, rounded
from clearhead.microscope._reference import example_logits, rounded_model
from clearhead.microscope.shipped import FACTS, MODELS
from clearhead.models import build, load
from clearhead.models.config import CNNConfig, ViTConfig
from clearhead.models.vit import VisionTransformer

SCRIPT = Path(str(resources.files("clearhead.microscope"))) / "script"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run JavaScript")
def test_the_softmax_of_large_and_masked_scores_is_finite(tmp_path: Path) -> None:
    shutil.copytree(SCRIPT, tmp_path, dirs_exist_ok=True)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "run.js").write_text(
        'import { softmax } from "./arithmetic.js";\n'
        "const rows = [[1000, 999], [-1000, -1001], [-Infinity, 0]];\n"
        "console.log(JSON.stringify(rows.map(softmax)));\n"
    )
    command = ["node", str(tmp_path / "run.js")]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    expected = torch.tensor([[1000.0, 999.0], [-1000.0, -1001.0], [-torch.inf, 0.0]]).double()
    np.testing.assert_allclose(json.loads(ran.stdout), expected.softmax(-1), rtol=1e-12)


@pytest.mark.skipif(shutil.which("node") is None, reason="no node here to run JavaScript")
def test_the_joined_script_does_what_its_modules_do(tmp_path: Path) -> None:
    files = {
        "a.js": 'import { two, more as three } from "./deep/b.js";\n'
        "const hidden = 1;\nconsole.log(hidden + two() + three);\n",
        "deep/b.js": 'import {\n  base,\n} from "../c.js";\n'
        "const hidden = base;\nexport function two() {\n  return hidden;\n}\n"
        "export const more = 30;\n",
        "c.js": "export const base = 2;\nexport class Unused {}\n",
    }
    script = join_modules(write(tmp_path, files))
    assert script.startswith('"use strict";\n')
    ran = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "33\n"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.js": 'import * as all from "./b.js";\n'}, r"a\.js: this form cannot be joined"),
        ({"a.js": "export default 1;\n"}, r"a\.js: this form cannot be joined"),
        ({"a.js": 'export { x } from "./b.js";\n'}, r"a\.js: this form cannot be joined"),
        ({"a.js": "export let x = 1;\n"}, r"a\.js: this form cannot be joined"),
        ({"a.js": 'import { x } from "./b.js";\n'}, r"a\.js imports b\.js, which does not exist"),
        (
            {"a.js": 'import { x } from "./b.js";\n', "b.js": 'import { y } from "./a.js";\n'},
            "modules import each other",
        ),
    ],
)
def test_modules_that_cannot_be_joined_are_refused(
    files: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        join_modules(write(tmp_path, files))


def test_views_take_every_visible_word_from_the_table_of_strings() -> None:
    """No view holds a sentence: text with a space in it that begins with a capital letter."""
    for path in (SCRIPT / "views").glob("*.js"):
        for line in path.read_text("utf-8").splitlines():
            code = line.split("//")[0].strip()
            if code.startswith(("*", "/*")) or "class" in code or "import" in code:
                continue
            for text in code.split('"')[1::2]:
                assert not (" " in text and text[:1].isupper()), f"{path.name}: {text}"


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
    labels = [example.label for example in examples()]
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


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ViTConfig(patch_size=2), "at most 65 tokens, this one has 196"),
        (ViTConfig(num_classes=41), "at most 40 classes, this one has 41"),
        (ViTConfig(depth=17), "at most 16 layers, this one has 17"),
        (ViTConfig(num_heads=32), "at most 16 heads per layer, this one has 32"),
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
