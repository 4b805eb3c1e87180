"""What `crosshead path` does once its options are read: read, train along the path, measure, choose, save, show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

from crosshead.cli.commands.path import PathOptions
from crosshead.cli.commands.path import show as path_report
from crosshead.cli.commands.path.show import PathOutcome
from crosshead.cli.destinations import model_folder_for
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, FAILED, UsageError
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import show_notes
from crosshead.cli.training import chosen_loss, estimator_options, fitted_scaler, trained_model
from crosshead.data import Dataset, load
from crosshead.engines import TrainingData
from crosshead.linear import ConvergenceWarning, LinearClassifierCV, Path, regularisation_path
from crosshead.linear.path_measures import measure_path
from crosshead.models.labels import class_indices, training_classes


def run(options: PathOptions) -> int:
    """Train along the path and show; returns the exit code."""
    check_engine(options.engine)
    chosen_loss(options)
    if options.picture is not None:
        path_report.check_picture(options.picture)
    if options.output is not None:
        model_folder_for(options.output, options.source)
    with Monitor(options.tol) as monitor:
        monitor.stage(f"reading {options.source}")
        dataset = load(
            options.source,
            target=options.target,
            size=options.size,
            ignore=options.ignore,
            skip_broken=options.skip_broken,
        )
        show_notes(dataset)
        classes = training_classes(dataset)
        target = class_indices(dataset, classes)
        monitor.stage("scaling" if options.scale != "none" else "starting")
        scaler = fitted_scaler(options.scale, dataset.features, options.source)
        features = _floats(scaler.apply(dataset.features))
        path, chosen = _train(options, features, dataset, monitor)
        monitor.stage("measuring")
        assert path.coef is not None
        data = TrainingData(features, target, len(classes))
        training = measure_path(
            chosen_loss(options),
            path.coef,
            path.intercepts,
            data,
            engine=options.engine,
            n_threads=options.threads,
        )
        outcome = PathOutcome(options, path, training, chosen, dataset.n_rows)
        if options.output is not None and chosen is not None:
            monitor.stage(f"saving {options.output}")
            record = {
                "split_from": None,
                "seconds": float(path.seconds[chosen.best_index_]),
                "chosen_from": len(path),
                "folds": options.cv,
            }
            trained_model(options, chosen, dataset, scaler, record).save(options.output)
        if options.picture is not None:
            monitor.stage(f"drawing {options.picture}")
            path_report.draw(outcome, options.picture)
    path_report.show(outcome)
    return FAILED if "interrupted" in path.status else DONE


def _floats(features: Any) -> Any:
    return features if features.dtype in (np.float32, np.float64) else features.astype(np.float64)


def _train(
    options: PathOptions, features: Any, dataset: Dataset, monitor: Monitor
) -> tuple[Path, LinearClassifierCV | None]:
    shared = estimator_options(options)
    monitor.stage("first passes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it in its own line
        try:
            if not options.cv:
                callback: Callable[..., object] = monitor
                path = regularisation_path(features, dataset.target, options.alphas, callback=callback, **shared)
                return path, None
            chosen = LinearClassifierCV(
                alphas=options.alphas,
                cv=StratifiedKFold(options.cv, shuffle=True, random_state=options.seed),
                one_standard_error=options.one_standard_error,
                callback=monitor,
                **shared,
            ).fit(features, dataset.target)
        except ValueError as error:
            raise UsageError(f"{options.source}: {error}") from error
    return chosen.path_, chosen
