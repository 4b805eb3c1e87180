"""The page about a model that `crosshead report` and `crosshead fit --report` write: its contents, words and file."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crosshead.cli.destinations import check_output, text_file
from crosshead.cli.engine import engine_name
from crosshead.cli.errors import UsageError
from crosshead.cli.output import loss_words
from crosshead.data import Dataset
from crosshead.models import Model, score_blocks, seen_rows
from crosshead.models.json_document import package_version
from crosshead.models.labels import class_indices
from crosshead.report.page.build import Settings, Wording, report_on_model
from crosshead.report.page.contents import Contents, Training
from crosshead.report.page.render import check_packages, render
from crosshead.solvers.protocol import MEANING

PAGES = (".html", ".htm")
TRAINED_ON_THESE = "These are the very rows that the model was trained on. How it does on new rows, they do not tell."


@dataclass(frozen=True, eq=False)
class Judged:
    """The rows that a model is judged on, what they are, and the ``--test`` that holds the same rows out again.

    ``row_title`` says what the names of the dataset's rows are: "file", or "row" where they are numbers.
    """

    dataset: Dataset
    name: str
    row_title: str
    test: str | None = None
    caution: str | None = None


def check_page(name: str, option: str) -> Path:
    """The path of a page; UsageError where it cannot be written, or a package is missing, before any time is spent."""
    path = check_output(name, PAGES, option)
    try:
        check_packages()
    except ModuleNotFoundError as error:
        raise UsageError(str(error)) from error
    return path


def write_page(contents: Contents, path: Path) -> int:
    """Write the page, which appears once it is complete; returns its bytes."""
    text = render(contents)
    with text_file(path) as stream:
        stream.write(text)
    return path.stat().st_size


def contents_of(
    model: Model,
    judged: Judged,
    source: str,
    *,
    engine: str,
    threads: int | None,
    commands: list[str],
    title: str,
    settings: Settings,
    date: str | None = None,
) -> Contents:
    """The contents of a report on a model."""
    dataset = judged.dataset
    target = class_indices(dataset, model.classes)
    wording = Wording(
        title=title,
        subject=subject_of(model, dataset, judged.name, source),
        judged_on=judged.name,
        row_title=judged.row_title,
        cautions=_cautions(model, judged),
        commands=commands,
        facts=model_facts(model, dataset, engine_name(engine), settings.resamples, settings.seed),
        date=date,
    )
    blocks = score_blocks(model, dataset, engine=engine, n_threads=threads)
    return report_on_model(model, dataset, target, blocks, wording, training=training_of(model), settings=settings)


def _cautions(model: Model, judged: Judged) -> list[str]:
    cautions = [] if judged.caution is None else [judged.caution]
    rows = seen_rows(model, judged.dataset).calibration
    if rows:
        cautions.append(f"The temperature was fitted on {rows} of these rows; new rows tell more about calibration.")
    return cautions


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
