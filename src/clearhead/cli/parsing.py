"""Command lines, parsed by tyro: types, help and errors in the words of a command line."""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from inspect import Parameter, Signature, signature
from itertools import pairwise, takewhile
from operator import or_
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import tyro
from tyro.conf import arg
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from clearhead.errors import did_you_mean


class UsageError(Exception):
    """A command line that the command does not accept; one line."""


class ValueRefusedError(Exception):
    """A value that an option does not accept: the value, and what was expected.

    Not a `ValueError`: tyro catches these and prints a box of several lines.
    """


def parse(name: str, command: Callable[..., object], arguments: Sequence[str]) -> Callable[[], Any]:
    """The call of a command that a command line describes.

    Raises:
        UsageError: The command does not accept it.
        SystemExit: The help was printed.
    """
    known = subcommands(command)
    if known and not arguments:
        raise UsageError(
            f"expected one of {', '.join(known)}; run `clearhead {name} --help` for help"
        )
    markers: list[Any] = [tyro.conf.CascadeSubcommandArgs]
    if name != "train":  # a recipe's flags may be on by default, so that they need a --no- form
        markers.append(tyro.conf.FlagCreatePairsOff)
    options = list(takewhile(lambda x: x != "--", arguments))
    asks_for_help = not {"-h", "--help"}.isdisjoint(options)
    if asks_for_help:  # also where tyro would expect a value
        before = takewhile(lambda x: x not in ("-h", "--help"), options)
        arguments = [*[x for x in before if x in known][:1], "--help"]
    try:
        call, unknown = tyro.cli(
            _deferred(command),
            prog=f"clearhead {name}",
            args=arguments,
            config=markers,
            registry=REGISTRY,
            return_unknown_args=True,
            console_outputs=asks_for_help,
        )
    except ValueRefusedError as error:
        value, expected = error.args
        raise UsageError(f"{_option_before(value, arguments)}{expected}") from None
    except SystemExit as error:
        if not error.code:  # after the help
            raise
        problem = _incomplete(command, arguments)
    else:
        if not unknown:
            return call
        problem = _unknown(command, unknown, arguments)
    hint = "" if "did you mean" in problem else f"; run `clearhead {name} --help` for help"
    raise UsageError(problem + hint)


def _deferred(command: Callable[..., object]) -> Callable[..., Callable[[], object]]:
    """Returns the call instead of making it: tyro reports a ValueError inside as wrong usage.

    The fields of a parameter whose default is a dataclass are options themselves.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters = dict(signature(command).parameters)
    settings = []
    for name, parameter in parameters.items():
        kind, default = with_hint(hints[name]), parameter.default
        if dataclasses.is_dataclass(default):
            default = options_of(default)
            settings.append(name)
            kind = Annotated[type(default), arg(name="")]
        parameters[name] = parameter.replace(annotation=kind, default=default)

    def defer(**given: Any) -> Callable[[], object]:
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
    """The settings of a dataclass as options: default values in a subclass.

    Args:
        settings: The default values.
        name: The name of the subclass.
        types: Other types of some fields.
        values: Other default values of some fields.

    Returns:
        An instance that validates nothing; `settings_of` does.
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
        namespace={"__post_init__": lambda options: None},
        frozen=True,
        kw_only=True,
    )
    return subclass(**defaults)


def settings_of(options: Any) -> Any:
    """The dataclass that `options_of` was given, with the values of the options."""
    base: Any = type(options).__base__
    return base(**vars(options))


POSITIONAL = get_args(tyro.conf.Positional[str])[-1]
REGISTRY = ConstructorRegistry()
KINDS: dict[Any, tuple[Callable[[str], Any], str, str]] = {
    str: (str, "TEXT", "a text"),
    Path: (Path, "PATH", "a path"),
    int: (int, "INT", "a whole number"),
    float: (float, "FLOAT", "a number"),
    int | tuple[int, int]: (int, "INT [INT]", "one or two whole numbers"),
}


@REGISTRY.primitive_rule
def _primitive(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Help and errors without Python's types; `None` is no value of an optional option."""
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
    if kind not in KINDS:
        return None
    convert, metavar, expected = KINDS[kind]

    def parse_values(given: list[str]) -> Any:
        try:
            values = tuple(map(convert, given))
        except ValueError:
            found = " ".join(given)
            raise ValueRefusedError(found, f"expected {expected}, got {found!r}") from None
        return values if len(values) > 1 else values[0]

    return PrimitiveConstructorSpec(
        nargs=(1, 2) if " " in metavar else 1,
        metavar=metavar,
        instance_from_str=parse_values,
        is_instance=lambda value: (
            value is None or isinstance(value, str | Path | int | float | tuple)
        ),
        str_from_instance=lambda x: list(map(str, x if isinstance(x, tuple) else (x,))),
    )


def _choice(given: str, words: Sequence[str]) -> str:
    if given not in words:
        hint = did_you_mean(given, words)
        message = f"expected one of {', '.join(words)}, got {given!r}{hint}"
        raise ValueRefusedError(given, message)
    return given


def _option_before(value: str, arguments: Sequence[str]) -> str:
    """The option that has this value, with a colon; empty if there is none, or more than one."""
    first = value.split(" ", maxsplit=1)[0]
    words = [
        word
        for token in arguments
        for word in (token.split("=", maxsplit=1) if token.startswith("--") else token.split(" "))
    ]
    options = [x for x, after in pairwise(words) if after == first and x.startswith("--")]
    return f"{options[0]}: " if len(options) == 1 else ""


def _incomplete(command: Callable[..., object], arguments: Sequence[str]) -> str:
    """What a command line lacks that tyro did not accept; or its first unknown option."""
    named = [_option(x) for x in arguments if x.startswith("--")]
    known, chosen = subcommands(command), _chosen(command, arguments)
    options = _defaults(command, chosen)
    if unknown := [x for x in named if not {x, x.replace("no-", "", 1)} & options.keys()]:
        return _unknown(command, unknown, arguments)
    if known and not chosen:
        given = [x for x in arguments[:1] if not x.startswith("-")]
        if given:
            return _unknown(command, given, arguments)
        return f"expected one of {', '.join(known)}"
    for token, after in pairwise([*arguments, "--"]):
        default = options.get(_option(token), False)
        if "=" not in token and _is_option(after) and not isinstance(default, bool | tuple):
            return f"expected a value after {token}"
    required = [x for x, default in options.items() if default in (Parameter.empty, tyro.MISSING)]
    if missing := [x for x in required if x not in named]:
        return f"expected {' and '.join(missing)}"
    return f"expected one of {', '.join(known)}" if known else "wrong usage"


def _unknown(
    command: Callable[..., object], tokens: Sequence[str], arguments: Sequence[str]
) -> str:
    """Name the first unknown option, or else the first argument that is one too many."""
    token = next(filter(_is_option, tokens), tokens[0])
    if not _is_option(token):
        known = [x for x in subcommands(command) if x != token]
        return f"unexpected argument {token!r}{did_you_mean(token, known)}"
    option, chosen = _option(token), _chosen(command, arguments)
    options = _defaults(command, chosen)
    if option in options:
        return f"expected {option} after {chosen}"
    shown = repr(option)[1:-1]  # one line
    return f"unknown option {shown}{did_you_mean(option, options)}"


def _is_option(word: str) -> bool:
    return word.startswith("-") and word != "-" and not _is_number(word)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _option(token: str) -> str:
    """The name of the option that a word of the command line gives."""
    return token.partition("=")[0].replace("_", "-")


def _chosen(command: Callable[..., object], arguments: Sequence[str]) -> str | None:
    return next((x for x in arguments if x in subcommands(command)), None)


def _defaults(command: Callable[..., object], chosen: str | None) -> dict[str, Any]:
    """The default value of each option of a command and of the chosen subcommand, or of all."""
    known = subcommands(command)
    hints = get_type_hints(command, include_extras=True)
    parameters = list(signature(command).parameters.values())[bool(known) :]
    found: dict[str, Any] = {}
    for each in parameters:
        if dataclasses.is_dataclass(each.default):  # its fields are options themselves
            found |= _named(_values(each.default))
        elif not _is_positional(hints[each.name]):
            found |= _named({each.name: each.default})
    for options in [known[chosen]] if chosen else known.values():
        found |= _named(_values(options))
    return found


def _is_positional(kind: Any) -> bool:
    return POSITIONAL in getattr(kind, "__metadata__", ())


def subcommands(command: Callable[..., object]) -> Mapping[str, Any]:
    """The dataclass of each subcommand, or its default values."""
    known: Mapping[str, Any] = getattr(sys.modules[command.__module__], "SUBCOMMANDS", {})
    return known


def _values(options: Any) -> dict[str, Any]:
    kinds = get_type_hints(
        options if isinstance(options, type) else type(options), include_extras=True
    )
    return {
        field.name: getattr(options, field.name, None)
        for field in dataclasses.fields(options)
        if not _is_positional(kinds[field.name])
    }


def _named(values: Mapping[str, Any], prefix: str = "--") -> dict[str, Any]:
    """The same values by the names of their options."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        option = prefix + name.replace("_", "-")
        named |= (
            _named(_values(value), f"{option}.")
            if dataclasses.is_dataclass(value)
            else {option: value}
        )
    return named
