"""What `crosshead fit` says when it is done: a table, or one JSON document; of a network also what solving changed."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.engine import engine_name
from crosshead.cli.errors import tell
from crosshead.cli.output import loss_title, loss_words, percent, show_json, show_pairs
from crosshead.cli.training import seconds
from crosshead.data import Dataset
from crosshead.data.formats.feature_files import BACKBONE
from crosshead.linear import LinearClassifier
from crosshead.models import Measures, Model
from crosshead.models.scoring import loss_of
from crosshead.models.summary import backbone_title

if TYPE_CHECKING:  # PyTorch is loaded where a network is trained
    from crosshead.nn.training.last_layer import LastLayerFit
    from crosshead.nn.training.trainer import Trained

ADVICE = {
    "max_iter": "raise --max-iter, scale the features (--scale), or accept the gap by a larger --tol",
    "max_time": "raise --max-time, or accept the gap by a larger --tol",
    "stalled": "accept the gap by a larger --tol",
    "no_certificate": "give --alpha above 0 for a certificate",
}


@dataclass(frozen=True)
class NetworkFit:
    """How a network was trained, the file of its history, and its last layer before and after it was solved."""

    trained: Trained
    history: str
    last_layer: LastLayerFit


@dataclass(frozen=True)
class Fitted:
    """A trained model, how its training went, and how well it does; ``judged`` are the rows to report on."""

    options: FitOptions
    classifier: LinearClassifier
    model: Model
    folder: Path
    training: Measures
    test: Measures | None
    judged: Dataset
    row_title: str
    report: Path | None = None
    network: NetworkFit | None = None

    @property
    def alpha(self) -> float:
        """The strength of the penalty on the weights of the last layer."""
        return float(self.classifier.alpha)


def show(fitted: Fitted) -> None:
    """Print the result on stdout, and on stderr whatever keeps it from being certified."""
    if fitted.options.as_json:
        show_json(document(fitted))
    else:
        show_pairs(pairs(fitted))
    if fitted.classifier.status_ == "interrupted":
        tell("warning", f"interrupted; the best weights so far are saved in {fitted.folder}, not certified")
    elif fitted.classifier.status_ != "converged":
        advice = ADVICE.get(fitted.classifier.status_)
        tell("warning", certificate(fitted) + ("" if advice is None else f"; {advice}"))


def certificate(fitted: Fitted) -> str:
    """Whether the optimum is certified, in words."""
    classifier, tol = fitted.classifier, fitted.options.tol
    if classifier.status_ == "converged":
        return f"certified: relative duality gap {classifier.gap_:.1e} ≤ {tol:.1e}"
    if not math.isfinite(classifier.gap_):
        return f"NOT certified: {classifier.message_}"
    return f"NOT certified: {classifier.message_}; relative duality gap {classifier.gap_:.1e} > {tol:.1e}"


def pairs(fitted: Fitted) -> list[tuple[str, str]]:
    """Names and values of the table, in the order they are shown."""
    options, classifier, model = fitted.options, fitted.classifier, fitted.model
    parts = [("train", fitted.training)] + ([] if fitted.test is None else [("test", fitted.test)])
    unit = " (nats)" if loss_of(model).has_probabilities else ""
    scaled = "" if options.scale == "none" else f", scaled by {options.scale}"
    penalty = f"alpha {fitted.alpha:.6g}" + (f", l1 ratio {options.l1_ratio:g}" if options.l1_ratio else "")
    return [
        ("rows", ", ".join(f"{part.rows} {name}" for name, part in parts)),
        ("features", f"{model.weight.shape[1]}{scaled}"),
        *([] if BACKBONE not in model.encoding else [("backbone", backbone_title(model.encoding[BACKBONE]))]),
        *([] if fitted.network is None else network_pairs(fitted.network)),
        ("classes", str(len(model.classes))),
        ("loss", f"{loss_words(model.loss, model.loss_parameters)}, {penalty}"),
        (
            loss_title(model.loss, model.loss_parameters),
            ", ".join(f"{part.mean_loss:.6g} {name}" for name, part in parts) + unit,
        ),
        ("error", ", ".join(f"{percent(part.error)} {name}" for name, part in parts)),
        ("objective", f"{classifier.objective_:.8g}"),
        ("gap", f"{classifier.gap_:.2e}" if math.isfinite(classifier.gap_) else "unknown"),
        ("status", certificate(fitted)),
        ("passes", f"{classifier.n_passes_} in {seconds(classifier):.2f} s"),
        ("engine", engine_name(options.engine)),
        ("saved in", str(fitted.folder)),
        *([] if fitted.report is None else [("report", str(fitted.report))]),
    ]


def document(fitted: Fitted) -> dict[str, Any]:
    """The result as one JSON document."""
    options, classifier, model = fitted.options, fitted.classifier, fitted.model
    return {
        "source": options.source,
        "features": int(model.weight.shape[1]),
        "backbone": model.encoding.get(BACKBONE),
        "classes": model.classes,
        "loss": model.loss,
        "loss_parameters": dict(model.loss_parameters),
        "alpha": fitted.alpha,
        "l1_ratio": options.l1_ratio,
        "scale": options.scale,
        "train": fitted.training.to_dict(),
        "test": None if fitted.test is None else fitted.test.to_dict(),
        "objective": classifier.objective_,
        "gap": classifier.gap_,
        "tol": options.tol,
        "certified": classifier.status_ == "converged",
        "status": classifier.status_,
        "message": classifier.message_,
        "iterations": classifier.n_iter_,
        "passes": classifier.n_passes_,
        "seconds": seconds(classifier),
        "engine": engine_name(options.engine),
        "model": str(fitted.folder),
        "network": None if fitted.network is None else network_document(fitted.network),
        "report": None if fitted.report is None else str(fitted.report),
    }


def network_pairs(fit: NetworkFit) -> list[tuple[str, str]]:
    """Names and values about a network, for the table of a fit."""
    trained, before, after = fit.trained, fit.last_layer.as_trained, fit.last_layer.solved
    early = f", ended early with the weights of epoch {trained.epoch_of_weights}" if trained.stopped_early else ""
    resumed = f", {trained.resumed_after} of them by an earlier run" if trained.resumed_after else ""
    tried = fit.last_layer.tried
    lines = [
        ("network", f"{trained.epochs} epochs{resumed}{early}, {trained.images_per_second:.0f} images/s"),
        ("history", fit.history),
        *([] if not tried else [("alpha", f"the best of {len(tried)} on validation rows")]),
        ("training objective", f"{before.objective:.8g} as trained, {after.objective:.8g} solved"),
    ]
    for name, rows in (("validation rows", "validation"), ("test rows", "test")):
        loss, error = getattr(before, f"{rows}_loss"), getattr(before, f"{rows}_error")
        if loss is not None:
            now, left = getattr(after, f"{rows}_loss"), getattr(after, f"{rows}_error")
            losses = f"loss {loss:.6g} as trained, {now:.6g} solved"
            lines.append((name, f"{losses}; error {percent(error)} as trained, {percent(left)} solved"))
    return lines


def network_document(fit: NetworkFit) -> dict[str, Any]:
    """The same as a JSON document."""
    trained = fit.trained
    last = {moment.epoch: asdict(moment) for moment in trained.history}
    return {
        "epochs": trained.epochs,
        "epoch_of_weights": trained.epoch_of_weights,
        "stopped_early": trained.stopped_early,
        "resumed_after": trained.resumed_after,
        "images_per_second": trained.images_per_second,
        "history": list(last.values()),
        "alphas": [{"alpha": alpha, "validation_loss": loss} for alpha, loss in fit.last_layer.tried],
        "last_layer_as_trained": asdict(fit.last_layer.as_trained),
        "last_layer_solved": asdict(fit.last_layer.solved),
    }
