import shutil
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from clearhead.errors import ConfigError
from clearhead.microscope.modules import join_modules, read_module

ROOT = Path(__file__).parents[2]
SCRIPT = Path(str(resources.files("clearhead.microscope"))) / "script"


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def run(script: str) -> str:
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to run JavaScript outside a page")
    return subprocess.run([node, "-e", script], capture_output=True, text=True, check=True).stdout


def test_the_joined_script_does_what_its_modules_do(tmp_path: Path) -> None:
    folder = write(
        tmp_path,
        {
            "a.js": 'import { two, more as three } from "./deep/b.js";\n'
            "const hidden = 1;\nconsole.log(hidden + two() + three);\n",
            "deep/b.js": 'import {\n  base,\n} from "../c.js";\n'
            "const hidden = base;\nexport function two() {\n  return hidden;\n}\n"
            "export const more = 30;\n",
            "c.js": "export const base = 2;\nexport class Unused {}\n",
        },
    )
    assert run(join_modules(folder)) == "33\n"


def test_what_is_used_stands_before_what_uses_it() -> None:
    joined = join_modules(SCRIPT)
    assert joined.startswith('"use strict";\n')
    for path in SCRIPT.rglob("*.js"):
        name = path.relative_to(SCRIPT).as_posix()
        module = read_module(name, path.read_text("utf-8"))
        for needed in module.needs:
            assert joined.index(f"\n// {needed}\n") < joined.index(f"\n// {name}\n")


@pytest.mark.parametrize(
    "form",
    [
        'import * as all from "./b.js";\n',
        "export default 1;\n",
        'export { x } from "./b.js";\n',
        "export let x = 1;\n",
    ],
)
def test_a_form_that_is_not_known_is_refused(form: str) -> None:
    with pytest.raises(ConfigError, match=r"a\.js: this form cannot be joined"):
        read_module("a.js", form)


def test_a_missing_module_and_a_circle_are_told(tmp_path: Path) -> None:
    missing = write(tmp_path / "1", {"a.js": 'import { x } from "./b.js";\n'})
    with pytest.raises(ConfigError, match=r"a\.js imports b\.js, which does not exist"):
        join_modules(missing)
    circle = write(
        tmp_path / "2",
        {"a.js": 'import { x } from "./b.js";\n', "b.js": 'import { y } from "./a.js";\n'},
    )
    with pytest.raises(ConfigError, match="modules import each other"):
        join_modules(circle)


def test_modules_are_short() -> None:
    lengths = {
        path.name: len(path.read_text("utf-8").splitlines()) for path in SCRIPT.rglob("*.js")
    }
    assert len(lengths) > 40
    assert {name for name, length in lengths.items() if length > 400} <= {
        "strings.js",
        "experiments.js",
    }


def test_every_visible_word_is_in_the_table_of_strings() -> None:
    """No view holds a sentence of its own: text with a space in it that begins with a capital."""
    for path in (SCRIPT / "views").glob("*.js"):
        for line in path.read_text("utf-8").splitlines():
            code = line.split("//")[0].strip()
            if code.startswith(("*", "/*")) or "class" in code or "import" in code:
                continue
            for text in code.split('"')[1::2]:
                assert not (" " in text and text[:1].isupper()), f"{path.name}: {text}"
