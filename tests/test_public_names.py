"""The public names: complete, lazy and documented."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

import clearhead

PACKAGES = {
    "attention",
    "data",
    "explanation",
    "inference",
    "insight",
    "learn",
    "microscope",
    "models",
    "recording",
    "serve",
    "studies",
    "training",
}
NAMES = set(
    """
    load train predict evaluate explain export capture intervene
    scaled_dot_product_attention attention_stages MultiHeadAttention
    causal_mask padding_mask band_mask
    load_dataset ImageDataset ViTConfig TextConfig TrainConfig
    VisionTransformer TextTransformer
    Recording AttentionRecord Prediction Evaluation Explanation
    ClearheadError __version__
    """.split()
)

INSIGHT = set(
    """
    Part ablate METHODS attribute Shapley shapley faithfulness Foreground Baseline
    measure_heads describe_heads head_roles untrained_heads
    max_flow rollout class_relevance attention_table
    Grid Words grid_of head_stages query_map value_norms weight_matrix plots
    """.split()
)
NO_RESULT = (None, Iterator[None])  # the second is that of a context manager


def test_the_public_names_are_these() -> None:
    assert set(dir(clearhead)) == PACKAGES | NAMES | {"errors"}
    assert set(dir(clearhead.insight)) == INSIGHT
    assert re.fullmatch(r"\d+\.\d+.*", clearhead.__version__)


@pytest.mark.parametrize("package", ["", *sorted(PACKAGES)])
def test_every_public_name_of_a_package_exists_and_is_documented(package: str) -> None:
    module = importlib.import_module(f"clearhead.{package}".rstrip("."))
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isroutine(value) or inspect.isclass(value):
            assert (value.__doc__ or "").strip(), name


@pytest.mark.parametrize("package", ["", *sorted(PACKAGES)])
def test_public_docstrings_have_sections_for_arguments_results_and_errors(package: str) -> None:
    module = importlib.import_module(f"clearhead.{package}".rstrip("."))
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        members = {name: value}
        if inspect.isclass(value):
            members = {f"{name}.{x}": getattr(value, x) for x in vars(value) if x[0] != "_"}
        for path, member in members.items():
            function = inspect.unwrap(member)
            is_routine = inspect.isfunction(function) or inspect.ismethod(function)
            if is_routine and function.__name__ in path:  # not a field that contains a function
                missing += [f"{path}: {x}" for x in _missing_sections(function)]
    assert missing == []


def _missing_sections(function: Callable[..., Any]) -> set[str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    raises = any(isinstance(x, ast.Raise) and x.exc for x in ast.walk(tree))
    parameters = set(inspect.signature(function).parameters) - {"self", "cls"}
    returns = inspect.signature(function).return_annotation
    needed = {"Args": parameters, "Raises": raises, "Returns": returns not in NO_RESULT}
    documented = (inspect.getdoc(function) or "").replace("Yields:", "Returns:")
    return {x for x, is_needed in needed.items() if is_needed and f"\n{x}:\n" not in documented}


@pytest.mark.parametrize("package", ["", *sorted(PACKAGES)])
def test_no_public_object_prints_its_tensors_modules_or_bytes(package: str) -> None:
    module = importlib.import_module(f"clearhead.{package}".rstrip("."))
    values = [getattr(module, name) for name in module.__all__]
    classes = [x for x in values if inspect.isclass(x) and is_dataclass(x)]
    generated = [x for x in classes if inspect.unwrap(x.__repr__).__code__.co_filename[0] == "<"]
    printed = [
        f"{value.__name__}.{field.name}"
        for value in generated
        for field in fields(value)
        if field.repr and re.search("Tensor|Module|bytes|ndarray", str(field.type))
    ]
    assert printed == []


@pytest.mark.parametrize("package", ["", *sorted(PACKAGES)])
def test_no_public_function_has_the_name_of_a_module_beside_it(package: str) -> None:
    module = importlib.import_module(f"clearhead.{package}".rstrip("."))
    modules = {info.name for info in pkgutil.iter_modules(module.__path__)}
    hidden = {
        name for name in module.__all__ if name in modules and callable(getattr(module, name))
    }
    assert hidden == set()


def test_importing_clearhead_imports_nothing_heavy() -> None:
    code = (
        "import sys, clearhead, clearhead.training.recipes; "
        "print(sorted({'torch', 'numpy', 'scipy', 'PIL', 'matplotlib', 'huggingface_hub'}"
        " & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(clearhead, "no_such_" + "name")


def test_names_in_messages_and_docstrings_resolve() -> None:
    """Such as in "for models of timm use clearhead.explain"."""
    pattern = re.compile(r"(?<![\w.])clearhead(?:\.[A-Za-z_]\w*)+")
    found: dict[str, str] = {}
    for path in sorted(Path(clearhead.__file__).parent.rglob("*.py")):
        text = re.sub(r"(?m)^ *(?:from|import) .*|#.*", "", path.read_text(encoding="utf-8"))
        found |= dict.fromkeys(pattern.findall(text), path.name)
    assert len(found) > 10
    assert [(file, name) for name, file in found.items() if not _resolves(name)] == []


def _resolves(name: str) -> bool:
    try:
        pkgutil.resolve_name(name)
    except (AttributeError, ImportError):
        return False
    return True
