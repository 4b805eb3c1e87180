"""What `crosshead evaluate` does once its options are read."""

from __future__ import annotations

from crosshead import models
from crosshead.cli.commands.evaluate import EvaluateOptions
from crosshead.cli.commands.evaluate.show import show
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError
from crosshead.cli.output import loss_title
from crosshead.cli.predictions import are_predictions, load_labels, load_predictions
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model, note_seen_rows, row_name_of
from crosshead.evaluation import evaluate_predictions
from crosshead.models import Model


def run(options: EvaluateOptions) -> int:
    """Measure and show; returns the exit code."""
    check_engine(options.engine)
    if are_predictions(options.subject):
        _run_predictions(options)
        return DONE
    options.predictions.refuse_for_model()
    model = Model.load(options.subject)
    if options.source is None:
        raise UsageError(f"{options.subject} is a model: name the SOURCE to evaluate it on too")
    _run_model(options, model, options.source)
    return DONE


def _run_model(options: EvaluateOptions, model: Model, source: str) -> None:
    with Monitor() as monitor:
        monitor.stage(f"reading {source}")
        dataset = load_for_model(
            source,
            model,
            target=options.predictions.target,
            ignore=options.predictions.ignore,
            target_required=True,
            test_rows=options.test_rows,
            images=options.images,
            threads=options.threads,
            monitor=monitor,
        )
        monitor.stage(f"scoring {dataset.n_rows} rows")
        found = models.evaluate(model, dataset, engine=options.engine, n_threads=options.threads, **options.measuring)
    known = note_seen_rows(model, dataset)
    head = {"model": options.subject, "source": source, "loss": model.loss, **known}
    show(options, found, head, loss_title(model.loss, model.loss_parameters), row_name_of(dataset))


def _run_predictions(options: EvaluateOptions) -> None:
    for option, given in (
        (f"SOURCE {options.source}", options.source is not None),
        ("--test-rows", options.test_rows),
        ("--engine", options.engine != "auto"),
        ("--threads", options.threads is not None),
        *((option, True) for option in options.images.given),
    ):
        if given:
            raise UsageError(
                f"{option} is for a model, and {options.subject} holds predictions; --labels says where their labels "
                "are"
            )
    options.predictions.check()
    with Monitor() as monitor:
        monitor.stage(f"reading {options.subject}")
        labels = load_labels(options.predictions)
        predictions = load_predictions(options.subject, options.predictions, labels)
        monitor.stage(f"evaluating {predictions.n_rows} rows")
        found = evaluate_predictions(predictions, loss=options.predictions.loss, **options.measuring)
    head = {"predictions": options.subject, "kind": predictions.kind}
    loss = (options.predictions.loss or "softmax") if predictions.kind == "scores" else None
    if loss is not None:
        head |= {"loss": loss}
    show(options, found, head, None if loss is None else loss_title(loss), predictions.row_name)
