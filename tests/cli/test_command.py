"""Commands that take their options in groups."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer

from crosshead.cli.command import Reads, Says, command
from crosshead.cli.errors import UsageError


def length(option: str, text: str) -> float:
    """A length in metres from a text such as 3ft."""
    if not text.endswith("ft"):
        raise UsageError(f"{option} {text}: give feet, such as 3ft")
    return float(text.removesuffix("ft")) * 0.3048


Length = Annotated[float | None, typer.Option(help="Of any pole."), Reads(length)]


@dataclass(frozen=True)
class Pole:
    pole_length: Annotated[Length, Says("Of this pole.")] = None
    paint: Annotated[tuple[str, ...], typer.Option()] = ()
    kept: str = "not an option"
    is_bare: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_bare", not self.paint)


@dataclass(frozen=True)
class Fence:
    pole: Pole
    count: Annotated[int, typer.Option(min=1)] = 4


def run(*arguments: str) -> list[tuple[str, Fence]]:
    """What a command made of these arguments was called with."""
    seen = []

    @command
    def build(place: Annotated[str, typer.Argument()], fence: Fence) -> int:
        """Build a fence."""
        seen.append((place, fence))
        return 0

    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(build)
    assert typer.main.get_command(app).main(list(arguments), standalone_mode=False) == 0
    return seen


def test_groups_within_groups_are_filled():
    [(place, fence)] = run("meadow", "--pole-length", "10ft", "--paint", "red", "--paint", "white", "--count", "2")
    assert place == "meadow"
    assert fence.pole.pole_length == pytest.approx(3.048)
    assert fence.pole.paint == ("red", "white")
    assert (fence.pole.is_bare, fence.pole.kept, fence.count) == (False, "not an option", 2)


def test_what_is_not_given_has_its_default():
    assert run("meadow") == [("meadow", Fence(Pole(None, ()), 4))]


def test_a_text_that_cannot_be_read_names_its_option():
    with pytest.raises(UsageError, match=r"^--pole-length 3m: give feet"):
        run("meadow", "--pole-length", "3m")


def test_an_option_may_say_something_of_its_own(capsys):
    assert run("--help") == []
    shown = capsys.readouterr().out
    assert "Of this pole." in shown
    assert "any pole" not in shown
    assert "kept" not in shown
