"""What `crosshead report` does once its options are read."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from crosshead.cli.backbones import load_again
from crosshead.cli.commands.report import ReportOptions
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError, tell
from crosshead.cli.output import show_json
from crosshead.cli.predictions import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.report_page import (
    TRAINED_ON_THESE,
    Judged,
    check_page,
    commands_for,
    contents_of,
    prediction_facts,
    write_page,
)
from crosshead.cli.sources import check_features, numbered_rows, row_title, show_notes
from crosshead.data import Dataset
from crosshead.data.errors import DataError
from crosshead.models import Model, held_out_rows, seen_rows
from crosshead.report.page.build import Settings, Wording, report_on_predictions
from crosshead.report.page.contents import Contents


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
        engine=options.engine,
        threads=options.threads,
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
    seen = seen_rows(model, whole)
    if not seen.training:
        return Judged(whole, "rows", title)
    if seen.training == seen.rows:
        return Judged(whole, "training rows", title, None, TRAINED_ON_THESE)
    test = f"{seen.rows - seen.training}/{seen.rows}"
    held_out = None if all_rows else held_out_rows(model, numbered_rows(whole))
    if held_out is not None:
        return Judged(held_out, "held-out rows", title, test)
    caution = f"The model was trained on {seen.training} of these rows; the others alone would tell more about it."
    return Judged(whole, "rows", title, test, caution)


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
