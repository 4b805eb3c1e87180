"""`crosshead explain`: the arithmetic of one sample, or of a few, step by step."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Annotated, Any

import typer

from crosshead.cli import options
from crosshead.cli.errors import UsageError

SCORE_LOSSES = (*options.LOSSES, "cross_entropy", "mse")
PROBABILITY_LOSSES = ("cross_entropy", "nll", "bce", "mse", "entropy")

_ON_SCORES = ("target", "loss", "margin", "label_smoothing", "base", "classes", "sample_weight", "class_weight")
FORMS = {
    "model": ("source", "row", "label", "target", "ignore", "test_rows", "base", "sample_weight", "class_weight"),
    "scores": (*_ON_SCORES, "jacobian"),
    "probabilities": ("target", "loss", "base", "classes", "sample_weight"),
    "weights": (*_ON_SCORES, "input", "bias", "alpha", "l1_ratio", "shape", "jacobian"),
    "shape": ("classes",),
}
"""What can be explained, by the option that says so, and what goes with it."""


@dataclass(frozen=True)
class ExplainOptions:
    """The options of one `crosshead explain`, as typed; None or empty where an option was not given."""

    model: str | None
    source: str | None
    row: tuple[str, ...]
    label: str | None
    ignore: tuple[str, ...]
    test_rows: bool
    scores: tuple[str, ...]
    probabilities: tuple[str, ...]
    weights: tuple[str, ...]
    input: tuple[str, ...]
    bias: str | None
    shape: str | None
    classes: str | None
    target: tuple[str, ...]
    loss: str | None
    margin: str | None
    label_smoothing: str | None
    base: str | None
    alpha: str | None
    l1_ratio: str | None
    sample_weight: tuple[str, ...]
    class_weight: tuple[str, ...]
    jacobian: bool
    output: str | None
    as_json: bool
    form: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "form", _form(self))
        _check_combination(self)


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
        if each.name not in allowed and getattr(chosen, each.name) not in (None, False, ()):
            raise UsageError(f"{flag(each.name)} does not go with {flag(chosen.form)}")


def flag(name: str) -> str:
    """An option as it is typed.

    Examples
    --------
    >>> flag("label_smoothing"), flag("model")
    ('--label-smoothing', 'MODEL')
    """
    return name.upper() if name in ("model", "source") else f"--{name.replace('_', '-')}"


def _several(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=f"{text}; may be repeated.", show_default=False)


def _one(metavar: str, text: str) -> Any:
    return typer.Option(metavar=metavar, help=text, show_default=False)


def explain(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="A folder that `crosshead fit` wrote.", show_default=False)
    ] = None,
    source: Annotated[
        str | None, typer.Argument(metavar="SOURCE", help="The data that --row is a row of.", show_default=False)
    ] = None,
    row: Annotated[
        list[str] | None, _several("N|FILE", "The row of SOURCE to explain, counted from 1, or an image's file name")
    ] = None,
    scores: Annotated[list[str] | None, _several("Z,Z,…", "The scores of one sample, one a class")] = None,
    probabilities: Annotated[
        list[str] | None, _several("P,P,…", "The probabilities of one sample, one a class")
    ] = None,
    target: Annotated[
        list[str] | None,
        _several(
            "CLASS|Y,Y,…|COLUMN",
            "The true class of each sample: its index from 0, its name, or one number a class. With MODEL: SOURCE's "
            "column of labels",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        _one(
            "NAME",
            f"Of --scores and --weights: {', '.join(SCORE_LOSSES)} [default: hinge]. Of --probabilities: "
            f"{', '.join(PROBABILITY_LOSSES)} [default: cross_entropy].",
        ),
    ] = None,
    margin: Annotated[str | None, _one("NUMBER", "The hinges' margin. [default: 1]")] = None,
    label_smoothing: Annotated[str | None, _one("NUMBER", "The softmax loss's label smoothing. [default: 0]")] = None,
    base: Annotated[str | None, _one("e|2|10", "Base of the logarithms: nats, bits or bans. [default: e]")] = None,
    jacobian: Annotated[bool, typer.Option("--jacobian", help="Also show softmax's Jacobian.")] = False,
    weights: Annotated[
        list[str] | None, _several("W,W,…", "One class's row of the weights W, for use with --input")
    ] = None,
    input_: Annotated[
        list[str] | None,
        typer.Option(
            "--input", metavar="X,X,…", help="The features of one sample; may be repeated.", show_default=False
        ),
    ] = None,
    bias: Annotated[str | None, _one("B,B,…", "The biases, one a class. [default: 0]")] = None,
    alpha: Annotated[str | None, _one("NUMBER", "Strength of the penalty on --weights.")] = None,
    l1_ratio: Annotated[str | None, _one("NUMBER", "Share of L1 in that penalty. [default: 0]")] = None,
    shape: Annotated[
        str | None, _one("N,N,…", "The shape of an input that is flattened: alone, with --classes, or of --input.")
    ] = None,
    classes: Annotated[
        str | None, _one("N|NAME,NAME,…", "The classes' names; with --shape alone their number.")
    ] = None,
    label: Annotated[
        str | None, _one("LABEL", "With MODEL: the true class, where SOURCE does not say or for comparison.")
    ] = None,
    sample_weight: Annotated[list[str] | None, _several("NUMBER", "The weight of each sample")] = None,
    class_weight: Annotated[
        list[str] | None, _several("CLASS=NUMBER", "What samples of a class are multiplied with")
    ] = None,
    ignore: options.Ignore = None,
    test_rows: options.TestRows = False,
    output: Annotated[
        str | None, _one("FILE.html", "Write a page there, complete in one file, in place of the text.")
    ] = None,
    as_json: options.AsJson = False,
) -> int:
    """Show how the loss of a sample comes about: every step with its formula, its numbers and its result.

    From scores (--scores 3.2,5.1,-1.7 --target 0), probabilities, weights and features, or a row of SOURCE and a
    MODEL. Several samples also get their sum, mean and error.
    """
    chosen = ExplainOptions(
        model=model,
        source=source,
        row=tuple(row or ()),
        label=label,
        ignore=tuple(ignore or ()),
        test_rows=test_rows,
        scores=tuple(scores or ()),
        probabilities=tuple(probabilities or ()),
        weights=tuple(weights or ()),
        input=tuple(input_ or ()),
        bias=bias,
        shape=shape,
        classes=classes,
        target=tuple(target or ()),
        loss=loss,
        margin=margin,
        label_smoothing=label_smoothing,
        base=base,
        alpha=alpha,
        l1_ratio=l1_ratio,
        sample_weight=tuple(sample_weight or ()),
        class_weight=tuple(class_weight or ()),
        jacobian=jacobian,
        output=output,
        as_json=as_json,
    )
    if loss is not None:
        options.choice("--loss", loss, PROBABILITY_LOSSES if chosen.form == "probabilities" else SCORE_LOSSES)
    from crosshead.cli.explaining import run

    return run(chosen)
