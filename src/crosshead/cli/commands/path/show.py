"""What `crosshead path` says when it is done: a table, one JSON document, a picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.cli.commands.path import PathOptions
from crosshead.cli.destinations import check_output
from crosshead.cli.engine import engine_name
from crosshead.cli.errors import UsageError, tell
from crosshead.cli.output import loss_title, loss_words, show_json, show_pairs, show_table, show_text
from crosshead.linear import LinearClassifierCV, Path
from crosshead.linear.path_measures import PathMeasures
from crosshead.report.displays.path import Curve, PathDisplay, draw_path
from crosshead.report.figures import FORMATS, require_matplotlib

Float = Any


@dataclass(frozen=True)
class PathOutcome:
    """A path, how its models do on the training rows, and what the cross-validation says, if there was one."""

    options: PathOptions
    path: Path
    training: PathMeasures
    chosen: LinearClassifierCV | None
    rows: int


@dataclass(frozen=True)
class Series:
    """One quantity at each alpha, (A,): on the training rows; the folds' mean and its standard error, if any."""

    title: str
    key: str
    train: Float
    mean: Float | None
    error: Float | None


def show(outcome: PathOutcome) -> None:
    """Print the result on stdout, and on stderr what keeps it from being certified."""
    if outcome.options.as_json:
        show_json(document(outcome))
    else:
        show_table(*table(outcome))
        show_text()
        show_pairs(pairs(outcome))
    missed = [status for status in _all_status(outcome) if status != "converged"]
    if missed:
        tell(
            "warning",
            f"{len(missed)} of {len(_all_status(outcome))} fits are NOT certified ({', '.join(sorted(set(missed)))}); "
            "raise --max-iter or --max-time, scale the features (--scale), or give a range of larger alphas (--alphas)",
        )


def series(outcome: PathOutcome) -> list[Series]:
    """The mean loss and the error, on training rows and held out."""
    folds = [] if outcome.chosen is None else [fold.measures for fold in outcome.chosen.folds_]
    nats = outcome.training.log_loss is not None
    found = []
    options = outcome.options
    title = "cross-entropy" if nats else loss_title(options.loss, options.loss_parameter)
    for name, key, take in (
        (title, "cross_entropy_nats" if nats else "mean_loss", _log_loss if nats else _loss),
        ("error", "error", _error),
    ):
        mean = error = None
        if folds:
            values = np.stack([take(fold) for fold in folds])
            mean = values.mean(axis=0)
            error = values.std(axis=0, ddof=1) / math.sqrt(len(folds))
        found.append(Series(name, key, take(outcome.training), mean, error))
    return found


def table(outcome: PathOutcome) -> tuple[list[str], list[list[str]]]:
    """The header and a row for each alpha; the chosen one is marked."""
    path, (loss, error) = outcome.path, series(outcome)
    best = -1 if outcome.chosen is None else outcome.chosen.best_index_
    header = ["alpha", f"{loss.title} train"] + (["held out ± se"] if best >= 0 else []) + ["error train"]
    header += (["held out ± se"] if best >= 0 else []) + ["non-zero", "gap", "passes"]
    rows = []
    for index, alpha in enumerate(path.alphas.tolist()):
        row = [f"{alpha:.3e}" + (" <-" if index == best else "   "), f"{loss.train[index]:.4f}"]
        if loss.mean is not None and loss.error is not None:
            row.append(f"{loss.mean[index]:.4f} ± {loss.error[index]:.4f}")
        row.append(f"{100 * error.train[index]:.2f} %")
        if error.mean is not None and error.error is not None:
            row.append(f"{100 * error.mean[index]:.2f} ± {100 * error.error[index]:.2f} %")
        gap = f"{path.gap[index]:.1e}" if math.isfinite(path.gap[index]) else "unknown"
        rows.append([*row, str(path.nnz[index]), gap, str(path.passes[index])])
    return header, rows


def pairs(outcome: PathOutcome) -> list[tuple[str, str]]:
    """Names and values below the table."""
    options, path, chosen = outcome.options, outcome.path, outcome.chosen
    certified = sum(status == "converged" for status in path.status)
    passes = f"{int(path.passes.sum())} in {path.seconds.sum():.2f} s"
    lines = []
    if chosen is not None:
        rule = "largest within one standard error of the best" if options.one_standard_error else "best held out"
        lines.append(("chosen", f"alpha {chosen.alpha_:.6g} ({rule}, {options.cv} folds)"))
        passes += f", {chosen.total_passes_} with the folds"
    lines += [("certified", f"{certified} of {len(path)} alphas, relative duality gap ≤ {options.tol:.1e}")]
    lines += [("passes", passes), ("engine", engine_name(options.engine))]
    lines += [("saved in", options.output)] if options.output is not None else []
    lines += [("picture", options.picture)] if options.picture is not None else []
    return lines


def document(outcome: PathOutcome) -> dict[str, Any]:
    """The result as one JSON document."""
    options, path, chosen = outcome.options, outcome.path, outcome.chosen
    found = series(outcome)
    points = []
    for index, alpha in enumerate(path.alphas.tolist()):
        point: dict[str, Any] = {"alpha": alpha, "train": {one.key: one.train[index] for one in found}}
        if chosen is not None:
            point["held_out"] = {
                one.key: {"mean": one.mean[index], "standard_error": one.error[index]}
                for one in found
                if one.mean is not None and one.error is not None
            }
        point |= {"nonzero": path.nnz[index], "objective": path.objective[index], "gap": path.gap[index]}
        point |= {"status": path.status[index], "passes": path.passes[index], "seconds": path.seconds[index]}
        points.append(point)
    return {
        "source": options.source,
        "rows": outcome.rows,
        "classes": path.classes,
        "loss": options.loss,
        "loss_parameters": options.loss_parameter or {},
        "l1_ratio": options.l1_ratio,
        "scale": options.scale,
        "tol": options.tol,
        "certified": all(status == "converged" for status in _all_status(outcome)),
        "folds": options.cv,
        "one_standard_error": options.one_standard_error,
        "alpha": None if chosen is None else chosen.alpha_,
        "chosen": None if chosen is None else chosen.best_index_,
        "passes": int(path.passes.sum()) if chosen is None else chosen.total_passes_,
        "engine": engine_name(options.engine),
        "model": options.output,
        "picture": options.picture,
        "path": points,
    }


def check_picture(file: str) -> None:
    """UsageError where no picture can be drawn or written, before any time is spent."""
    check_output(file, FORMATS, "--picture")
    try:
        require_matplotlib()
    except ModuleNotFoundError as error:
        raise UsageError(f"--picture {file}: {error}") from error


def draw(outcome: PathOutcome, file: str) -> None:
    """Draw the path into a file."""
    path, options = outcome.path, outcome.options
    assert path.coef is not None
    loss = loss_words(options.loss, options.loss_parameter or {})
    curves = []
    for one in series(outcome):
        unit, factor = (" (%)", 100.0) if one.key == "error" else (" (nats)" if "nats" in one.key else "", 1.0)
        mean = None if one.mean is None else factor * one.mean
        spread = None if one.error is None else factor * one.error
        curves.append(Curve(one.title + unit, factor * one.train, mean, spread))
    draw_path(
        PathDisplay(
            title=f"{options.source}: {loss}, l1 ratio {options.l1_ratio:g}",
            alphas=path.alphas,
            curves=curves,
            nonzero=path.nnz,
            coefficients=int(path.coef[0].size),
            chosen=None if outcome.chosen is None else outcome.chosen.alpha_,
        ),
        file,
    )


def _all_status(outcome: PathOutcome) -> list[str]:
    folds = [] if outcome.chosen is None else outcome.chosen.folds_
    return [*outcome.path.status, *(status for fold in folds for status in fold.status)]


def _log_loss(measures: PathMeasures) -> Float:
    return measures.log_loss


def _loss(measures: PathMeasures) -> Float:
    return measures.loss


def _error(measures: PathMeasures) -> Float:
    return measures.error
