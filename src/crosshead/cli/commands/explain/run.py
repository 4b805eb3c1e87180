"""What `crosshead explain` does once its options are read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crosshead.cli.commands.explain import ExplainOptions
from crosshead.cli.destinations import check_output, text_file
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.options import values
from crosshead.cli.output import show_json, show_text
from crosshead.cli.sources import load_for_model
from crosshead.data import Dataset
from crosshead.explain import (
    Explanation,
    SampleExplanations,
    explain,
    explain_flatten,
    explain_linear,
    explain_probabilities,
    page,
)
from crosshead.models import Model
from crosshead.penalties import ElasticNet


def run(options: ExplainOptions) -> int:
    """Compute and show; returns the exit code."""
    output = None if options.output is None else check_output(options.output, (".html", ".htm"))
    explanations = _FORMS[options.form](options)
    result = explanations[0] if len(explanations) == 1 else SampleExplanations(tuple(explanations))
    if output is not None:
        with text_file(output) as stream:
            stream.write(page(_title(explanations), result))
        tell("note", f"written to {options.output}")
    if options.as_json:
        show_json(result.to_dict())
    elif output is None:
        show_text(result.to_text())
    return DONE


def _from_scores(options: ExplainOptions) -> list[Explanation]:
    targets = _one_each(options, options.target, options.scores, "--target", needed=True)

    def one(text: str, place: int, weight: float) -> Explanation:
        return explain(
            values.numbers("--scores", text),
            _target(targets[place]),
            loss=options.loss or "hinge",
            classes=_names(options),
            sample_weight=weight,
            **_on_scores(options),
        )

    return _each(options, "--scores", options.scores, one)


def _from_probabilities(options: ExplainOptions) -> list[Explanation]:
    loss = options.loss or "cross_entropy"
    targets = _one_each(options, options.target, options.probabilities, "--target", needed=loss != "entropy")

    def one(text: str, place: int, weight: float) -> Explanation:
        return explain_probabilities(
            values.numbers("--probabilities", text),
            None if targets[place] is None else _target(targets[place]),
            loss,
            base=_base(options),
            classes=_names(options),
            sample_weight=weight,
        )

    return _each(options, "--probabilities", options.probabilities, one)


def _from_weights(options: ExplainOptions) -> list[Explanation]:
    if not options.input:
        raise UsageError("--weights: give the features with --input, as in --input 1,1,1,1")
    matrix = [values.numbers("--weights", text) for text in options.weights]
    if len({len(row) for row in matrix}) > 1:
        lengths = " and ".join(str(length) for length in sorted({len(row) for row in matrix}))
        raise UsageError(f"--weights: the rows have {lengths} numbers; give each class one weight a feature")
    targets = _one_each(options, options.target, options.input, "--target", needed=False)
    shape = _shape(options, len(matrix[0]))

    def one(text: str, place: int, weight: float) -> Explanation:
        target = targets[place]
        return explain_linear(
            matrix,
            values.numbers("--input", text),
            None if target is None else _target(target),
            bias=None if options.bias is None else values.numbers("--bias", options.bias),
            loss=options.loss or "hinge",
            penalty=_penalty(options),
            classes=_names(options),
            shape=shape,
            sample_weight=weight,
            **_on_scores(options),
        )

    return _each(options, "--input", options.input, one)


def _from_shape(options: ExplainOptions) -> list[Explanation]:
    if options.classes is None:
        raise UsageError("--shape: give the number of classes too, as in --classes 7")
    classes = int(options.classes) if options.classes.isdecimal() else len(options.classes.split(","))
    try:
        return [explain_flatten(_sides(options), classes)]
    except ValueError as error:
        raise UsageError(f"--shape {options.shape} --classes {options.classes}: {error}") from error


def _from_model(options: ExplainOptions) -> list[Explanation]:
    if options.source is None:
        raise UsageError(f"{options.model}: give the data too, as in crosshead explain {options.model} SOURCE --row 1")
    if not options.row:
        raise UsageError("say which row to explain, as in --row 1")
    if len(options.target) > 1:
        raise UsageError("--target: with MODEL it names the column of labels, of which there is one")
    model = Model.load(str(options.model))
    if model.temperature is not None:
        tell(
            "note",
            f"the arithmetic of the training loss; predicted probabilities are softmax(z / {model.temperature:.4g})",
        )
    dataset = load_for_model(
        options.source,
        model,
        target=options.target[0] if options.target else None,
        ignore=options.ignore,
        target_required=False,
        test_rows=options.test_rows,
        images=options.images,
    )

    def one(text: str, place: int, weight: float) -> Explanation:
        row = _row_index(dataset, text)
        label = options.label
        if label is None and dataset.target is not None:
            label = dataset.target[row]
        made = explain(
            model,
            dataset.features[row : row + 1],
            label,
            sample_weight=weight,
            class_weight=_class_weight(options),
            base=_base(options),
        )
        name = f"row {row + 1}" if dataset.row_names is None else dataset.row_names[row]
        return replace(made, title=f"{options.source}, {name}, by {options.model}")

    return _each(options, f"{options.source} --row", options.row, one)


_FORMS: dict[str, Callable[[ExplainOptions], list[Explanation]]] = {
    "model": _from_model,
    "scores": _from_scores,
    "probabilities": _from_probabilities,
    "weights": _from_weights,
    "shape": _from_shape,
}


def _each(
    options: ExplainOptions, option: str, samples: Sequence[str], one: Callable[[str, int, float], Explanation]
) -> list[Explanation]:
    """Every sample's explanation; what is wrong with one is said together with its text."""
    weights = _one_each(options, options.sample_weight, samples, "--sample-weight", needed=False)
    made = []
    for place, text in enumerate(samples):
        weight = weights[place]
        factor = 1.0 if weight is None else values.number("--sample-weight", weight)
        try:
            made.append(one(text, place, factor))
        except UsageError:
            raise
        except ValueError as error:
            raise UsageError(f"{option} {text}: {error}") from error
    return made


def _one_each(
    options: ExplainOptions, given: Sequence[str], samples: Sequence[str], option: str, *, needed: bool
) -> Sequence[Any]:
    """One text a sample, or None for each where the option was left out and may be."""
    if not given and not needed:
        return [None] * len(samples)
    if len(given) != len(samples):
        raise UsageError(f"{option}: {len(samples)} sample(s) but {len(given)} {option}; give one for each sample")
    return given


def _target(text: str) -> Any:
    """A class's index or name, or a row of numbers."""
    if "," in text:
        return values.numbers("--target", text)
    try:
        return int(text)
    except ValueError:
        return text


def _names(options: ExplainOptions) -> list[str] | None:
    return None if options.classes is None else [name.strip() for name in options.classes.split(",")]


def _on_scores(options: ExplainOptions) -> dict[str, Any]:
    """The options that every loss on scores may have."""
    chosen: dict[str, Any] = {
        "base": _base(options),
        "jacobian": options.jacobian,
        "class_weight": _class_weight(options),
    }
    if options.margin is not None:
        chosen["margin"] = values.number("--margin", options.margin)
    if options.label_smoothing is not None:
        chosen["label_smoothing"] = values.number("--label-smoothing", options.label_smoothing, highest=1.0)
    return chosen


def _class_weight(options: ExplainOptions) -> dict[Any, float] | None:
    if not options.class_weight:
        return None
    return dict(
        values.named_numbers("--class-weight", options.class_weight, like="a class and a number, such as 0=2.5")
    )


def _penalty(options: ExplainOptions) -> ElasticNet | None:
    if options.alpha is None:
        if options.l1_ratio is not None:
            raise UsageError("--l1-ratio: give the strength of the penalty too, as in --alpha 0.1")
        return None
    ratio = 0.0 if options.l1_ratio is None else values.number("--l1-ratio", options.l1_ratio, highest=1.0)
    return ElasticNet(values.number("--alpha", options.alpha), ratio)


def _base(options: ExplainOptions) -> float:
    if options.base in (None, "e"):
        return math.e
    base = values.number("--base", str(options.base))
    if base <= 1:
        raise UsageError(f"--base {options.base}: it must be above 1, as e, 2 or 10")
    return base


def _sides(options: ExplainOptions) -> tuple[int, ...]:
    sides = values.numbers("--shape", str(options.shape))
    if any(side != int(side) or side < 1 for side in sides):
        raise UsageError(f"--shape {options.shape}: give whole numbers of at least 1, such as 100,4,4")
    return tuple(int(side) for side in sides)


def _shape(options: ExplainOptions, features: int) -> tuple[int, ...] | None:
    if options.shape is None:
        return None
    sides = _sides(options)
    if math.prod(sides) != features:
        raise UsageError(f"--shape {options.shape}: that is {math.prod(sides)} features, but --weights has {features}")
    return sides


def _row_index(dataset: Dataset, text: str) -> int:
    """The row that a number from 1 or a file name means."""
    if dataset.row_names is not None and text in dataset.row_names:
        return dataset.row_names.index(text)
    try:
        row = int(text)
    except ValueError:
        known = "a number" if dataset.row_names is None else "a number or a file name"
        raise UsageError(f"--row {text}: {dataset.source} has no such row; give {known}") from None
    if not 1 <= row <= dataset.n_rows:
        raise UsageError(f"--row {text}: {dataset.source} has rows 1 to {dataset.n_rows}")
    return int(np.int64(row - 1))


def _title(explanations: Sequence[Explanation]) -> str:
    first = explanations[0]
    if len(explanations) > 1:
        return f"The arithmetic of {len(explanations)} samples"
    return first.title or f"The arithmetic of one sample: {first.loss}"
