import inspect

import pytest

from clearhead import errors
from clearhead.errors import ClearheadError, ConfigError, did_you_mean, require

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if kind.__module__ == errors.__name__
]


def test_every_error_is_a_clearhead_error_and_is_listed_in_the_tree() -> None:
    assert len(KINDS) > 8
    assert errors.__doc__ is not None
    for kind in KINDS:
        assert issubclass(kind, ClearheadError)
        assert f"{kind.__name__}" in errors.__doc__
        assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.InputError, ValueError),
        (errors.InputError, RuntimeError),
        (errors.ImageError, ValueError),
        (errors.FetchError, errors.DataError),
        (errors.CorruptDataError, errors.DataError),
        (errors.CorruptDataError, ValueError),
        (errors.StorageError, OSError),
        (errors.DivergenceError, ArithmeticError),
    ],
)
def test_errors_are_also_the_usual_builtin_exceptions(
    kind: type[ClearheadError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match=r"^one line$"):
        raise kind("one line")


def test_only_a_similar_name_is_suggested() -> None:
    assert did_you_mean("evalute", ["predict", "evaluate"]) == "; did you mean evaluate?"
    assert did_you_mean("zzz", ["predict", "evaluate"]) == ""
    assert did_you_mean("zzz", []) == ""


@pytest.mark.parametrize("name", ["nowhere", "nowhere.part"])
def test_a_module_that_is_not_installed_is_named_unless_an_extra_has_it(name: str) -> None:
    require("it", "json", "json.decoder")
    with pytest.raises(ConfigError, match=f"^it needs .*: pip install {name}$"):
        require("it", "json", name)
    with pytest.raises(ConfigError, match=r"install the extra `more`$"):
        require("it", name, extra="more")
