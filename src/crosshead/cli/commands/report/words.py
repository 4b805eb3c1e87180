"""The words of a report that are not in its numbers: its subject, its commands, and where all of it came from."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crosshead.cli.output import loss_words
from crosshead.data import Dataset
from crosshead.models import Model
from crosshead.models.document import package_version
from crosshead.report.page.contents import Training
from crosshead.solvers.protocol import MEANING


def training_of(model: Model) -> Training | None:
    """What the model's document says of its training; None where it says nothing."""
    said = model.training
    if "status" not in said:
        return None
    status = str(said["status"])
    return Training(
        model.loss,
        said.get("objective"),
        said.get("gap"),
        model.hyperparameters.get("tol"),
        status,
        MEANING.get(status, ""),
        said.get("history"),
    )


def subject_of(model: Model, dataset: Dataset, judged_on: str, source: str) -> str:
    """One sentence: which model, judged on what."""
    classes, features = model.weight.shape
    loss = f"{model.loss.replace('_', ' ')} loss" if "loss" not in model.loss else model.loss
    calibrated = "" if model.temperature is None else f", with temperature {model.temperature:.4g}"
    return (
        f"A linear classifier of {features} features and {classes} classes, trained with {loss}{calibrated}; "
        f"judged on {dataset.n_rows} {judged_on} of {Path(source).name}."
    )


def commands_for(model: Model, source: str, folder: str, test: str | None) -> list[str]:
    """The command lines that train the model again, and calibrate it; none where its document does not say enough."""
    settings = model.hyperparameters
    if "alpha" not in settings or "source" not in model.training:
        return []
    words = [
        "crosshead",
        "fit",
        _named(source, model.training["source"]),
        "--loss",
        model.loss,
        "--alpha",
        repr(float(settings["alpha"])),
    ]
    for name, value in model.loss_parameters.items():
        words += ["--loss-parameter", f"{name}={value!r}"]
    words += _option("--l1-ratio", settings.get("l1_ratio"), 0.0) + _option("--scale", model.scaling.kind, "none")
    words += _data_options(model.encoding)
    words += [] if test is None else ["--test", test]
    words += _option("--class-weight", settings.get("class_weight"), None)
    words += [] if settings.get("fit_intercept", True) else ["--no-intercept"]
    words += _option("--tol", settings.get("tol"), 1e-4) + _option("--max-iter", settings.get("max_iter"), 1000)
    words += _option("--max-time", settings.get("max_time"), None) + _option("--seed", settings.get("seed"), 0)
    if model.temperature is None:
        return [shlex.join([*words, "--output", folder])]
    before, said = f"{folder}-uncalibrated", model.calibration
    again = ["crosshead", "calibrate", before, _named(source, said.get("source", source))]
    again += _option("--folds", said.get("folds"), 5) + _option("--seed", said.get("seed"), 0)
    return [shlex.join([*words, "--output", before]), shlex.join([*again, "--output", folder])]


def _named(source: str, recorded: Any) -> str:
    """The recorded name of a source, as the person who asks writes it."""
    return source if Path(source).name == str(recorded) else str(recorded)


def _option(name: str, value: Any, default: Any) -> list[str]:
    return [] if value is None or value == default else [name, str(value)]


def _data_options(encoding: Mapping[str, Any]) -> list[str]:
    if encoding.get("kind") == "table" and encoding.get("target"):
        return ["--target", str(encoding["target"])]
    if encoding.get("kind") == "images" and encoding.get("size"):
        height, width = encoding["size"]
        return ["--size", f"{width}x{height}"]
    return []


def model_facts(model: Model, dataset: Dataset, engine: str, resamples: int, seed: int) -> list[tuple[str, str]]:
    """Settings, fingerprints and versions."""
    said = model.training
    facts = [("loss", loss_words(model.loss, model.loss_parameters))]
    facts += [(name.replace("_", " "), _plain(value)) for name, value in model.hyperparameters.items()]
    facts.append(("scaling", model.scaling.kind))
    if model.temperature is not None:
        facts.append(("temperature", f"{model.temperature:.6g}"))
    for name in ("rows", "iterations", "passes"):
        if name in said:
            facts.append((f"training {name}", str(said[name])))
    if isinstance(said.get("seconds"), (int, float)):
        facts.append(("training time", f"{said['seconds']:.2f} s"))
    facts.append(("training rows, SHA-256", model.fingerprint or "not recorded"))
    facts.append(("judged rows, SHA-256", dataset.fingerprint()))
    return facts + _made_by(resamples, seed) + [("engine", engine)]


def prediction_facts(fingerprint: str, resamples: int, seed: int) -> list[tuple[str, str]]:
    """Fingerprint and versions."""
    return [("rows and labels, SHA-256", fingerprint), *_made_by(resamples, seed)]


def _made_by(resamples: int, seed: int) -> list[tuple[str, str]]:
    versions = [f"{name} {package_version(name)}" for name in ("crosshead", "numpy", "scipy", "matplotlib")]
    return [
        ("intervals", f"bootstrap over rows, {resamples} samples, seed {seed}"),
        ("made with", f"{', '.join(versions)}, Python {platform.python_version()}"),
    ]


def _plain(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
