"""What `crosshead top-losses` does once its options are read."""

from __future__ import annotations

from crosshead.cli.commands.top_losses import TopLossesOptions
from crosshead.cli.commands.top_losses.show import Listing, show
from crosshead.cli.destinations import check_output
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, UsageError
from crosshead.cli.output import loss_title, percent
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model, row_names, row_title
from crosshead.data import Dataset
from crosshead.evaluation import TopLosses
from crosshead.models import Model, doubtful_labels, top_losses
from crosshead.models.scoring import loss_of


def run(options: TopLossesOptions) -> int:
    """Find, show or write; returns the exit code."""
    output = None if options.output is None else check_output(options.output, (".csv",))
    check_engine(options.engine)
    model = Model.load(options.model)
    if options.label_errors and not loss_of(model).has_probabilities:
        raise UsageError(
            f"--label-errors: the model was trained with {model.loss}, which has no probabilities; "
            "train with --loss softmax or binary"
        )
    with Monitor() as monitor:
        monitor.stage(f"reading {options.source}")
        dataset = load_for_model(
            options.source,
            model,
            target=options.target,
            ignore=options.ignore,
            target_required=True,
            test_rows=options.test_rows,
            images=options.images,
            threads=options.threads,
            monitor=monitor,
        )
        if options.label_errors:
            listing = _doubtful(options, model, dataset, monitor)
        else:
            monitor.stage(f"scoring {dataset.n_rows} rows")
            found = top_losses(model, dataset, n=options.count, engine=options.engine, n_threads=options.threads)
            listing = _costly(model, dataset, found)
    show(options, listing, output)
    return DONE


def _costly(model: Model, dataset: Dataset, found: TopLosses) -> Listing:
    loss, parameters = (model.loss, model.loss_parameters) if model.temperature is None else ("softmax", {})
    columns = {
        row_title(dataset): row_names(dataset, found.rows.tolist()),
        "true": model.classes[found.target].tolist(),
        "predicted": model.classes[found.predicted].tolist(),
    }
    if found.probability is not None:
        columns["probability"] = found.probability.tolist()
    columns |= {"loss": found.loss.tolist(), "share": found.share.tolist()}
    unit = "" if found.probability is None else " (nats)"
    pairs = [
        ("rows", str(found.n_rows)),
        (f"total {loss_title(loss, parameters)}", f"{found.total_loss:.6g}{unit}"),
        ("shown", f"{len(found)} rows, {percent(float(found.share.sum()))} of the total"),
    ]
    facts = {"rows": found.n_rows, "loss": loss, "total_loss": found.total_loss}
    return Listing("top_losses", pairs, columns, facts)


def _doubtful(options: TopLossesOptions, model: Model, dataset: Dataset, monitor: Monitor) -> Listing:
    monitor.stage(f"{options.folds} folds")
    found = doubtful_labels(
        model,
        dataset,
        folds=options.folds,
        seed=options.seed,
        engine=options.engine,
        n_threads=options.threads,
        callback=monitor,
    )
    shown = slice(0, options.count)
    columns = {
        row_title(dataset): row_names(dataset, found.rows[shown].tolist()),
        "label": model.classes[found.given[shown]].tolist(),
        "suggested": model.classes[found.suggested[shown]].tolist(),
        "probability": found.given_probability[shown].tolist(),
        "of suggested": found.suggested_probability[shown].tolist(),
    }
    share = percent(len(found) / dataset.n_rows)
    listed = len(columns["label"])
    pairs = [
        ("rows", str(dataset.n_rows)),
        ("doubtful", f"{len(found)} labels, {share}, by {options.folds} folds"),
        ("shown", f"{listed}, the most doubtful first"),
    ]
    facts = {"rows": dataset.n_rows, "doubtful": len(found), "folds": options.folds, "seed": options.seed}
    return Listing("label_errors", pairs, columns, facts | {"thresholds": found.thresholds.tolist()})
