"""What `crosshead calibrate` does once its options are read."""

from __future__ import annotations

from pathlib import Path

from crosshead.cli.commands.calibrate import CalibrateOptions
from crosshead.cli.commands.calibrate.show import show
from crosshead.cli.destinations import check_model_folder
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, tell
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.models import Model, calibrate


def run(options: CalibrateOptions) -> int:
    """Fit, judge, save and show; returns the exit code."""
    check_engine(options.engine)
    folder = Path(default_folder(options.model) if options.output is None else options.output)
    check_model_folder(folder)
    model = Model.load(options.model)
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
        found = calibrate(
            model,
            dataset,
            folds=options.folds,
            seed=options.seed,
            bins=options.bins,
            source=options.source,
            engine=options.engine,
            n_threads=options.threads,
            callback=monitor.stage,
        )
        if found.seen.training:
            tell(
                "note",
                f"the model was trained on {found.seen.training} of these rows; the other {found.rows}, which were "
                "held out, are used",
            )
        monitor.stage(f"saving {folder}")
        found.model.save(folder)
    show(options, folder, found)
    return DONE


def default_folder(model: str) -> str:
    """The calibrated model's folder where none is named, beside the model.

    Examples
    --------
    >>> default_folder("models/digits-model/")
    'models/digits-model-calibrated'
    """
    path = Path(model)
    name = path.name or path.resolve().name
    return str(path.parent / f"{name}-calibrated")
