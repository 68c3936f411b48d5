"""Command lines, parsed by tyro: the options of a command, its help, and errors in one line."""

import dataclasses
import io
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from functools import partial, reduce
from inspect import Parameter, Signature, signature
from itertools import takewhile
from operator import or_
from pathlib import Path
from textwrap import dedent
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from clearhead.cli import HELP
from clearhead.errors import ConfigError, did_you_mean

IS_OPTIONS = "_is_options"
MODEL_ARGUMENT = Annotated[
    tyro.conf.Positional[str | None], arg(metavar="[MODEL]", help="the same as --model")
]


def parse(name: str, command: Callable[..., object], arguments: Sequence[str]) -> Callable[[], Any]:
    """The call of a command that a command line describes; `SystemExit` after its help."""
    options = list(takewhile(lambda x: x != "--", arguments))
    if not set(HELP).isdisjoint(options):  # also where tyro would expect a value
        arguments = ["--help"]
    # a recipe's flags may be on by default, so that they need a --no- form
    markers: list[Any] = [] if name.startswith("train ") else [tyro.conf.FlagCreatePairsOff]
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            return tyro.cli(
                _deferred(command),
                prog=f"clearhead {name}",
                args=arguments,
                config=markers,
                registry=REGISTRY,
            )
    except SystemExit as stop:
        if not stop.code:  # after the help
            raise
    raise ConfigError(f"{_one_line(printed.getvalue())}; run `clearhead {name} --help` for help")


def _one_line(printed: str) -> str:
    """An error of tyro without its frame, title and the help texts of options."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", printed)  # colours, on a terminal
    _, _, framed = re.sub("[│╭╮╰╯─]", " ", plain).partition("\n")
    parts = re.split(r"(?m)^[^\w\n]*$", dedent(framed))
    lines = [re.findall(r"^ {,6}(\S.*?) *$", part, re.MULTILINE) for part in parts]
    return "; ".join(" ".join(x).rstrip(".") for x in lines if x and "helptext" not in x[0])


def _deferred(command: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """Returns the call instead of making it: tyro reports a ValueError inside as wrong usage.

    The fields of a parameter whose default is a dataclass are options. If that was made by
    `options_of`, the command gets it as it is. If the first parameter is `model`, it can also be
    given as a positional argument.
    """
    function = command.func if isinstance(command, partial) else command
    hints = get_type_hints(function, include_extras=True)
    parameters = dict(signature(command).parameters)
    settings = []
    for name, parameter in parameters.items():
        kind, default = with_hint(hints[name]), parameter.default
        if dataclasses.is_dataclass(default):
            if not hasattr(default, IS_OPTIONS):
                default = options_of(default)
                settings.append(name)
            kind = Annotated[type(default), arg(name="")]
        parameters[name] = parameter.replace(annotation=kind, default=default)

    takes_model = next(iter(parameters), None) == "model"
    if takes_model:
        parameters["positional"] = Parameter(
            "positional", Parameter.KEYWORD_ONLY, default=None, annotation=with_hint(MODEL_ARGUMENT)
        )

    def defer(**given: Any) -> Callable[[], object]:
        positional = given.pop("positional", None)
        if positional is not None:
            if given["model"] != parameters["model"].default:
                raise ConfigError(
                    f"expected one model, got {positional} and --model {given['model']}"
                )
            given["model"] = positional

        def call() -> object:
            return command(**given | {name: settings_of(given[name]) for name in settings})

        return call

    defer.__doc__ = command.__doc__
    defer.__signature__ = Signature([*parameters.values()])  # type: ignore[attr-defined]
    defer.__annotations__ = {name: x.annotation for name, x in parameters.items()}
    return defer


def with_hint(kind: Any) -> Any:
    """The type of an option whose help has no default if that is unset, empty or off."""
    metadata = getattr(kind, "__metadata__", ())
    bare = get_args(kind)[0] if metadata else kind
    return Annotated[(bare, arg(help_behavior_hint=_default_hint), *metadata)]


def _default_hint(default: str) -> str:
    words = {"": "", "None": "", "False": "", "True": "(default: on)"}
    return words.get(default, f"(default: {default})")


def options_of(
    settings: Any,
    name: str | None = None,
    types: Mapping[str, Any] = {},
    values: Mapping[str, Any] = {},
) -> Any:
    """An instance of a subclass whose fields are options; it validates nothing.

    `types` and `values` replace the types and the default values of some fields.
    """
    base, defaults = type(settings), vars(settings) | dict(values)
    kinds = get_type_hints(base, include_extras=True)
    for field, value in defaults.items():
        if dataclasses.is_dataclass(value):
            defaults[field] = value if field in values else options_of(value)
            kinds[field] = type(defaults[field])
        else:
            kinds[field] = with_hint(types.get(field, kinds[field]))
    subclass: Any = dataclasses.make_dataclass(
        name or base.__name__,
        [(field, kind, dataclasses.field(default=None)) for field, kind in kinds.items()],
        bases=(base,),
        namespace={"__post_init__": lambda options: None, IS_OPTIONS: True},
        frozen=True,
    )
    return subclass(**defaults)


def settings_of(options: Any) -> Any:
    """The dataclass that `options_of` was given, with the values of the options."""
    base: Any = type(options).__base__
    return base(**vars(options))


def _not_empty(given: str) -> str:
    if not given:  # an unset variable of the shell; as a path, it would be the current folder
        raise ValueError
    return given


REGISTRY = ConstructorRegistry()
KINDS: dict[Any, tuple[Callable[[str], Any], str, str]] = {
    str: (_not_empty, "TEXT", "a text"),
    Path: (lambda given: Path(_not_empty(given)), "PATH", "a path"),
    int: (int, "INT", "a whole number"),
    float: (float, "FLOAT", "a number"),
    int | tuple[int, int]: (int, "INT [INT]", "one or two whole numbers"),
}


@REGISTRY.primitive_rule
def _primitive(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Help and errors without Python's types; `None` is not a value of an optional option."""
    kind = info.type
    if NoneType in get_args(kind):
        kind = reduce(or_, (part for part in get_args(kind) if part is not NoneType))
    if get_origin(kind) is Literal:
        words = get_args(kind)
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar=f"{{{','.join(words)}}}",
            instance_from_str=lambda given: _choice(given[0], words),
            is_instance=lambda value: value is None or value in words,
            str_from_instance=lambda value: [str(value)],
        )
    is_list = get_args(kind)[1:] == (...,)
    element = get_args(kind)[0] if is_list else kind
    if element not in KINDS:
        return None
    convert, metavar, expected = KINDS[element]
    may_be_empty = tyro.conf.Positional in info.markers  # the command then says what is missing

    def parse_values(given: list[str]) -> Any:
        try:
            values = tuple(map(convert, given))
        except ValueError:
            values = ()
        if not values and (given or not may_be_empty):
            raise ValueError(f"expected {expected}, got {' '.join(map(repr, given)) or 'none'}")
        return values if is_list or len(values) > 1 else values[0]

    return PrimitiveConstructorSpec(
        nargs="*" if is_list else (1, 2) if " " in metavar else 1,
        metavar=f"{metavar} [{metavar} ...]" if is_list else metavar,
        instance_from_str=parse_values,
        is_instance=lambda value: (
            value is None or isinstance(value, str | Path | int | float | tuple)
        ),
        str_from_instance=lambda x: list(map(str, x if isinstance(x, tuple) else (x,))),
    )


def _choice(given: str, words: Sequence[str]) -> str:
    if given not in words:
        hint = did_you_mean(given, words)
        raise ValueError(f"expected one of {', '.join(words)}, got {given!r}{hint}")
    return given
