"""What `crosshead report` does once its options are read; and the page of `crosshead fit --report`."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crosshead.cli.commands.evaluate.run import calibration_rows
from crosshead.cli.commands.report import ReportOptions
from crosshead.cli.commands.report.words import commands_for, model_facts, prediction_facts, subject_of, training_of
from crosshead.cli.commands.top_losses.run import row_title
from crosshead.cli.embedding import load_again
from crosshead.cli.engine import check_engine, engine_name
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.held_out import held_out_again
from crosshead.cli.labels import class_indices
from crosshead.cli.measures import Computing, scores_of
from crosshead.cli.output import show_json
from crosshead.cli.predicted import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import check_features, show_notes
from crosshead.cli.writers import check_output, text_file
from crosshead.data import Dataset
from crosshead.data.errors import DataError
from crosshead.models import Model
from crosshead.report.page.build import Settings, Wording, report_on_model, report_on_predictions
from crosshead.report.page.contents import Contents
from crosshead.report.page.render import check_packages, render

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


def run(options: ReportOptions) -> int:
    """Read, judge and write the page; returns the exit code."""
    output = check_page(options.output, "--output")
    check_engine(options.engine)
    with Monitor() as monitor:
        contents = _of_predictions(options, monitor) if options.source is None else _of_model(options, monitor)
        monitor.stage(f"writing {output}")
        size = write_page(contents, output)
    if options.as_json:
        head = {"subject": options.subject, "source": options.source, "output": options.output, "bytes": size}
        show_json({**head, "judged_on": contents.judged_on, **contents.evaluation.to_dict()})
    else:
        tell("note", f"report written to {options.output}, {size / 1e3:.0f} kB")
    return DONE


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
    computing: Computing,
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
        facts=model_facts(model, dataset, engine_name(computing.engine), settings.resamples, settings.seed),
        date=date,
    )
    blocks = scores_of(model, dataset.features, computing)
    return report_on_model(model, dataset, target, blocks, wording, training=training_of(model), settings=settings)


def _cautions(model: Model, judged: Judged) -> list[str]:
    cautions = [] if judged.caution is None else [judged.caution]
    rows = calibration_rows(model, judged.dataset.fingerprint(), judged.dataset.n_rows)
    if rows:
        cautions.append(f"The temperature was fitted on {rows} of these rows; new rows tell more about calibration.")
    return cautions


def _of_model(options: ReportOptions, monitor: Monitor) -> Contents:
    assert options.source is not None
    model = Model.load(options.subject)
    monitor.stage(f"reading {options.source}")
    whole = load_again(
        options.source,
        model.encoding,
        target=options.predictions.target,
        ignore=tuple(options.predictions.ignore),
        target_required=True,
        images=options.images,
        threads=options.threads,
        monitor=monitor,
        network=model.network,
    )
    judged = rows_to_judge(model, whole, all_rows=options.all_rows)
    check_features(judged.dataset, model)
    show_notes(judged.dataset)
    monitor.stage(f"scoring {judged.dataset.n_rows} rows")
    return contents_of(
        model,
        judged,
        options.source,
        computing=Computing(options.engine, options.threads),
        commands=[*commands_for(model, options.source, options.subject, judged.test), _own_command(options)],
        title=options.title or f"{Path(options.subject).name} on {Path(options.source).name}",
        settings=_settings(options),
        date=options.date,
    )


def rows_to_judge(model: Model, whole: Dataset, *, all_rows: bool) -> Judged:
    """The rows of a source that tell most about a model: those it was not trained on, where they can be told apart."""
    title = row_title(whole)
    if whole.test is not None and not all_rows:
        return Judged(whole.test, "test rows", title)
    print_of_whole = whole.fingerprint()
    if print_of_whole == model.fingerprint:
        caution = TRAINED_ON_THESE
        return Judged(whole, "training rows", title, None, caution)
    if print_of_whole != model.training.get("split_from"):
        return Judged(whole, "rows", title)
    rows = int(model.training["rows"])
    test = f"{whole.n_rows - rows}/{whole.n_rows}"
    held_out = None if all_rows else held_out_again(model, numbered(whole))
    if held_out is not None:
        return Judged(held_out, "held-out rows", title, test)
    caution = f"The model was trained on {rows} of these rows; the others alone would tell more about it."
    return Judged(whole, "rows", title, test, caution)


def numbered(dataset: Dataset) -> Dataset:
    """The dataset with its rows named by their numbers, so that a part of it still says which rows they are."""
    if dataset.row_names is not None:
        return dataset
    return replace(dataset, row_names=[str(row + 1) for row in range(dataset.n_rows)])


def _of_predictions(options: ReportOptions, monitor: Monitor) -> Contents:
    if not are_predictions(options.subject) and Path(options.subject).is_dir():
        raise UsageError(f"{options.subject}: a model needs labelled rows to be judged on; give SOURCE after it")
    monitor.stage(f"reading {options.subject}")
    given = options.predictions
    predictions = load_predictions(options.subject, given, load_labels(given))
    name, kind = Path(options.subject).name, predictions.kind
    wording = Wording(
        title=options.title or name,
        subject=f"The {kind} of {len(predictions.classes)} classes that {name} holds for {predictions.n_rows} rows.",
        commands=[_own_command(options)],
        facts=prediction_facts(predictions.fingerprint(), options.resamples, options.seed),
        date=options.date,
    )
    monitor.stage(f"judging {predictions.n_rows} rows")
    try:
        return report_on_predictions(predictions, wording, loss=given.loss or "softmax", settings=_settings(options))
    except DataError:
        raise
    except ValueError as error:
        raise UsageError(f"{options.subject}: {error}") from error


def _settings(options: ReportOptions) -> Settings:
    return Settings(options.count, options.level, options.resamples, options.seed)


def _own_command(options: ReportOptions) -> str:
    words: list[Any] = ["crosshead", "report", options.subject]
    words += [] if options.source is None else [options.source]
    given, usual = options.predictions, Settings()
    words += [] if given.target is None else ["--target", given.target]
    words += [word for column in given.ignore for word in ("--ignore", column)]
    words += [] if given.labels is None else ["--labels", given.labels]
    words += [] if given.row_id is None else ["--row-id", given.row_id]
    words += ["--scores"] if given.scores else []
    words += [] if given.loss is None else ["--loss", given.loss]
    words += ["--all-rows"] if options.all_rows else []
    words += [] if options.count == usual.costliest else ["-n", options.count]
    words += [] if options.level == usual.level else ["--level", options.level]
    words += [] if options.resamples == usual.resamples else ["--resamples", options.resamples]
    words += [] if options.seed == usual.seed else ["--seed", options.seed]
    words += [] if options.title is None else ["--title", options.title]
    words += [] if options.date is None else ["--date", options.date]
    return shlex.join(str(word) for word in [*words, "--output", Path(options.output).name])
