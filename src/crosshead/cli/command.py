"""Commands that take their options in groups: dataclasses whose fields are declared once.

A parameter of a command, or a field of a group, is ``Annotated`` with what typer needs to know. Beside that may stand
`Reads`, where what a person types has to become something else, and `Says`, where an option that commands share means
something of its own in one of them. Imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer.models import ParameterInfo


@dataclass(frozen=True)
class Reads:
    """How a value of typer's, by default a text, is checked and read: ``read(option, value)``."""

    read: Callable[[str, Any], Any]
    typed: type = str


@dataclass(frozen=True)
class Says:
    """An option's help in one command."""

    help: str


@dataclass(frozen=True)
class _Parameter:
    """A parameter or a field as it is written."""

    name: str
    hint: Any
    default: Any

    @property
    def is_group(self) -> bool:
        return is_dataclass(self.hint)

    def annotation(self, kind: type) -> Any:
        """The annotation of a kind beside its type, or None."""
        return next((one for one in getattr(self.hint, "__metadata__", ()) if isinstance(one, kind)), None)


def command(function: Callable[..., int]) -> Callable[..., int]:
    """The function as typer takes it: the fields of its groups are options, one by one, in their order."""
    taken = list(_of_function(function))
    options = list(_options(taken))

    @wraps(function)
    def flat(**given: Any) -> int:
        # Loading this takes time, which `--help` need not wait for.
        from crosshead.data.memmap import refuse_shortened

        with refuse_shortened():
            return function(**_gathered(taken, given))

    flat.__annotations__ = {option.name: _typed(option) for option in options}
    vars(flat)["__signature__"] = Signature([_as_typer_reads_it(option) for option in options], return_annotation=int)
    return flat


def _of_function(function: Callable[..., int]) -> Iterator[_Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in signature(function).parameters.items():
        yield _Parameter(name, hints[name], parameter.default)


def _of_group(group: Any) -> Iterator[_Parameter]:
    """The fields that are options; what a group computes by itself is none."""
    hints = get_type_hints(group, include_extras=True)
    for each in fields(group):
        found = _Parameter(each.name, hints[each.name], Parameter.empty if each.default is MISSING else each.default)
        if each.init and (found.is_group or found.annotation(ParameterInfo) is not None):
            yield found


def _options(parameters: list[_Parameter]) -> Iterator[_Parameter]:
    for parameter in parameters:
        if parameter.is_group:
            yield from _options(list(_of_group(parameter.hint)))
        else:
            yield parameter


def _typed(option: _Parameter) -> Any:
    """The type that typer reads, annotated."""
    kind, told = get_args(option.hint)[0], copy(option.annotation(ParameterInfo))
    reads, says = option.annotation(Reads), option.annotation(Says)
    if says is not None:
        told.help = says.help
    if reads is not None:
        kind = reads.typed | None if NoneType in get_args(kind) else reads.typed
    elif get_origin(kind) is tuple:
        kind = list[get_args(kind)[0]] | None  # type: ignore[misc]  # computed, for typer alone
    return Annotated[kind, told]


def _as_typer_reads_it(option: _Parameter) -> Parameter:
    default, reads = option.default, option.annotation(Reads)
    if default == ():
        default = None
    elif reads is not None and reads.typed is str and isinstance(default, int | float):
        default = f"{default:g}"
    return Parameter(option.name, Parameter.KEYWORD_ONLY, default=default, annotation=_typed(option))


def _gathered(parameters: list[_Parameter], given: dict[str, Any]) -> dict[str, Any]:
    """The values of parameters, read, and in their groups."""
    return {
        each.name: each.hint(**_gathered(list(_of_group(each.hint)), given))
        if each.is_group
        else _read(each, given[each.name])
        for each in parameters
    }


def _read(option: _Parameter, value: Any) -> Any:
    reads = option.annotation(Reads)
    if reads is not None:
        return None if value is None else reads.read(f"--{option.name.replace('_', '-')}", value)
    return tuple(value or ()) if get_origin(get_args(option.hint)[0]) is tuple else value
