"""`crosshead explain`: the arithmetic of one sample, or of a few, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.command import command
from crosshead.cli.errors import UsageError
from crosshead.cli.options import images as image_options
from crosshead.cli.options import values

SCORE_LOSSES = (*options.LOSSES, "cross_entropy", "mse")
PROBABILITY_LOSSES = ("cross_entropy", "nll", "bce", "mse", "entropy")

_ON_SCORES = ("target", "loss", "margin", "label_smoothing", "base", "classes", "sample_weight", "class_weight")
FORMS = {
    "model": (
        "source",
        "row",
        "label",
        "target",
        "ignore",
        "images",
        "test_rows",
        "base",
        "sample_weight",
        "class_weight",
    ),
    "scores": (*_ON_SCORES, "jacobian"),
    "probabilities": ("target", "loss", "base", "classes", "sample_weight"),
    "weights": (*_ON_SCORES, "input", "bias", "alpha", "l1_ratio", "shape", "jacobian"),
    "shape": ("classes",),
}
"""What can be explained, by the option that says so, and what goes with it."""


def _several(metavar: str, text: str) -> Any:
    return options.option(metavar, f"{text}; may be repeated.")


@dataclass(frozen=True)
class ExplainOptions:
    """The options of one `crosshead explain`, as typed; None or empty where an option was not given."""

    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A folder that `crosshead fit` wrote.", show_default=False)
    ] = None
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The data that --row is a row of.", show_default=False)
    ] = None
    row: Annotated[
        tuple[str, ...], _several("N|FILE", "The row of SOURCE to explain, counted from 1, or an image's file name")
    ] = ()
    scores: Annotated[tuple[str, ...], _several("Z,Z,…", "The scores of one sample, one a class")] = ()
    probabilities: Annotated[tuple[str, ...], _several("P,P,…", "The probabilities of one sample, one a class")] = ()
    target: Annotated[
        tuple[str, ...],
        _several(
            "CLASS|Y,Y,…|COLUMN",
            "The true class of each sample: its index from 0, its name, or one number a class. With MODEL: SOURCE's "
            "column of labels",
        ),
    ] = ()
    loss: Annotated[
        str | None,
        options.option(
            "NAME",
            f"Of --scores and --weights: {', '.join(SCORE_LOSSES)} [default: hinge]. Of --probabilities: "
            f"{', '.join(PROBABILITY_LOSSES)} [default: cross_entropy].",
        ),
    ] = None
    margin: Annotated[str | None, options.option("NUMBER", "The hinges' margin. [default: 1]")] = None
    label_smoothing: Annotated[
        str | None, options.option("NUMBER", "The softmax loss's label smoothing. [default: 0]")
    ] = None
    base: Annotated[
        str | None, options.option("e|2|10", "Base of the logarithms: nats, bits or bans. [default: e]")
    ] = None
    jacobian: Annotated[bool, typer.Option("--jacobian", help="Also show softmax's Jacobian.")] = False
    weights: Annotated[
        tuple[str, ...], _several("W,W,…", "One class's row of the weights W, for use with --input")
    ] = ()
    input: Annotated[
        tuple[str, ...],
        typer.Option(
            "--input", metavar="X,X,…", help="The features of one sample; may be repeated.", show_default=False
        ),
    ] = ()
    bias: Annotated[str | None, options.option("B,B,…", "The biases, one a class. [default: 0]")] = None
    alpha: Annotated[str | None, options.option("NUMBER", "Strength of the penalty on --weights.")] = None
    l1_ratio: Annotated[str | None, options.option("NUMBER", "Share of L1 in that penalty. [default: 0]")] = None
    shape: Annotated[
        str | None,
        options.option("N,N,…", "The shape of an input that is flattened: alone, with --classes, or of --input."),
    ] = None
    classes: Annotated[
        str | None, options.option("N|NAME,NAME,…", "The classes' names; with --shape alone their number.")
    ] = None
    label: Annotated[
        str | None, options.option("LABEL", "With MODEL: the true class, where SOURCE does not say or for comparison.")
    ] = None
    sample_weight: Annotated[tuple[str, ...], _several("NUMBER", "The weight of each sample")] = ()
    class_weight: Annotated[
        tuple[str, ...], _several("CLASS=NUMBER", "What samples of a class are multiplied with")
    ] = ()
    ignore: options.Ignore = ()
    images: image_options.OwnImages = field(default_factory=image_options.OwnImages)
    test_rows: options.TestRows = False
    output: Annotated[
        str | None, options.option("FILE.html", "Write a page there, complete in one file, in place of the text.")
    ] = None
    as_json: options.AsJson = False
    form: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", _form(self))
        _check_combination(self)
        if self.loss is not None:
            known = PROBABILITY_LOSSES if self.form == "probabilities" else SCORE_LOSSES
            values.choice("--loss", self.loss, known)


def _form(chosen: ExplainOptions) -> str:
    """What is to be explained; UsageError where that is nothing, or several things."""
    given = [name for name in ("model", "scores", "probabilities", "weights") if getattr(chosen, name)]
    if not given and chosen.shape is not None:
        return "shape"
    if len(given) == 1:
        return given[0]
    if not given:
        raise UsageError(
            "nothing to explain: give MODEL and SOURCE with --row, or --scores, --probabilities, --weights or --shape; "
            "see crosshead explain --help"
        )
    raise UsageError(f"{flag(given[0])} and {flag(given[1])} do not go together; give one of them")


def _check_combination(chosen: ExplainOptions) -> None:
    """An option that would change nothing is a misunderstanding."""
    allowed = {chosen.form, *FORMS[chosen.form], "output", "as_json", "form"}
    for each in fields(chosen):
        if each.name not in allowed and getattr(chosen, each.name) not in (None, False, (), image_options.OwnImages()):
            named = chosen.images.given[0] if each.name == "images" else flag(each.name)
            raise UsageError(f"{named} does not go with {flag(chosen.form)}")


def flag(name: str) -> str:
    """An option as it is typed.

    Examples
    --------
    >>> flag("label_smoothing"), flag("model")
    ('--label-smoothing', 'MODEL')
    """
    return name.upper() if name in ("model", "source") else f"--{name.replace('_', '-')}"


@command
def explain(chosen: ExplainOptions) -> int:
    """Show how the loss of a sample comes about: every step with its formula, its numbers and its result.

    From scores (--scores 3.2,5.1,-1.7 --target 0), probabilities, weights and features, or a row of SOURCE and a
    MODEL. Several samples also get their sum, mean and error.
    """
    from crosshead.cli.commands.explain.run import run

    return run(chosen)
