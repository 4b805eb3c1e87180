"""What `crosshead fit` does once its options are read: read, train, measure, save, show."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from crosshead.cli.backbones import embedded_source, how_of, load_again, open_backbone
from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.commands.fit.show import Fitted, show
from crosshead.cli.destinations import model_folder_for
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, FAILED, UsageError, WorkError, tell
from crosshead.cli.progress import Monitor
from crosshead.cli.report_page import TRAINED_ON_THESE, Judged, check_page, commands_for, contents_of, write_page
from crosshead.cli.sources import numbered_rows, row_title, show_notes
from crosshead.cli.training import chosen_loss, estimator_options, fit_record, fitted_scaler, trained_model
from crosshead.data import Dataset, load, open_images, split
from crosshead.data.errors import load_package
from crosshead.linear import ConvergenceWarning, LinearClassifier
from crosshead.models import measure
from crosshead.models.labels import class_indices, training_classes
from crosshead.report.page.build import Settings


def run(options: FitOptions) -> int:
    """Train, save and show; returns the exit code."""
    check_engine(options.engine)
    chosen_loss(options)
    folder = model_folder_for(options.output, options.source)
    report = report_page_for(options, folder)
    with Monitor(options.tol) as monitor:
        fitted = _fit(options, folder, monitor) if options.network is None else _fit_network(options, folder, monitor)
        monitor.stage(f"saving {folder}")
        fitted.model.save(folder)
        if report is not None:
            monitor.stage(f"writing {report}")
            fitted = replace(fitted, report=report)
            try:
                _write_report(fitted, report)
            except KeyboardInterrupt:
                raise WorkError(f"interrupted; the model is saved in {folder}, but not {report}") from None
    show(fitted)
    return FAILED if fitted.classifier.status_ == "interrupted" else DONE


def _fit_network(options: FitOptions, folder: Path, monitor: Monitor) -> Fitted:
    load_package("torch", "crosshead[torch]", "training a network")
    from crosshead.cli.commands.fit.network import fit_network  # loads PyTorch

    return fit_network(options, folder, monitor)


def _fit(options: FitOptions, folder: Path, monitor: Monitor) -> Fitted:
    monitor.stage(f"reading {options.source}")
    whole = _read(options, monitor)
    show_notes(whole)
    training, test = _parts(options, whole, monitor)
    classes = training_classes(training)
    if test is not None:
        class_indices(test, classes)  # labels that training does not know are told before it
    monitor.stage("scaling" if options.scale != "none" else "starting")
    scaler = fitted_scaler(options.scale, training.features, options.source)
    classifier = _train(options, scaler.apply(training.features), training.target, monitor)
    monitor.stage("measuring")
    split_from = whole.fingerprint() if options.test_fraction is not None else None
    model = trained_model(options, classifier, training, scaler, fit_record(classifier, split_from))
    computing: dict[str, Any] = {"engine": options.engine, "n_threads": options.threads}
    on_training = measure(model, training, **computing)
    on_test = None if test is None else measure(model, test, **computing)
    judged = training if test is None else test
    return Fitted(options, classifier, model, folder, on_training, on_test, judged, row_title(whole))


def _train(options: FitOptions, features: Any, target: Any, monitor: Monitor) -> LinearClassifier:
    """The certified fit of scaled features."""
    assert options.alpha is not None  # only a network's last layer has it chosen by validation
    classifier = LinearClassifier(
        **estimator_options(options), alpha=options.alpha, precision=options.precision, callback=monitor
    )
    monitor.stage("first passes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says it in its own line
        try:
            return classifier.fit(features, target)
        except ValueError as error:
            raise UsageError(f"{options.source}: {error}") from error


def _read(options: FitOptions, monitor: Monitor) -> Dataset:
    """The source's features: its own, or those that a backbone makes of its images."""
    images = options.images
    if images.backbone is None:
        return load(
            options.source,
            target=options.target,
            size=options.size,
            ignore=options.ignore,
            skip_broken=images.skip_broken,
        )
    if options.ignore:
        raise UsageError("--ignore names columns of a table of features, and images have none")
    source = open_images(options.source, target=options.target, labels_required=True)
    return embedded_source(source, open_backbone(images, options.threads), how_of(images), images.cache, monitor)


def report_page_for(options: FitOptions, folder: Path) -> Path | None:
    """Where the page is written, by default beside the model's folder; None where none is wanted."""
    if not options.report:
        return None
    name = options.report_output or str(folder.with_name(f"{folder.resolve().name}-report.html"))
    return check_page(name, "--report-output")


def _write_report(fitted: Fitted, page: Path) -> None:
    options, training_only = fitted.options, fitted.test is None
    caution = TRAINED_ON_THESE if training_only else None
    name = "training rows" if training_only else "test rows" if options.test_fraction is None else "held-out rows"
    commands = commands_for(fitted.model, options.source, str(fitted.folder), options.test)
    contents = contents_of(
        fitted.model,
        Judged(fitted.judged, name, fitted.row_title, options.test, caution),
        options.source,
        engine=options.engine,
        threads=options.threads,
        commands=[f"{command} --report" for command in commands],
        title=f"{fitted.folder.name} on {Path(options.source).name}",
        settings=Settings(),
    )
    write_page(contents, page)


def _parts(options: FitOptions, dataset: Dataset, monitor: Monitor) -> tuple[Dataset, Dataset | None]:
    """Training rows, and test rows where there are any."""
    if options.test is None:
        return dataset, dataset.test
    if options.test_fraction is not None:
        return split(numbered_rows(dataset) if options.report else dataset, options.test_fraction, options.seed)
    images = options.images
    test = load_again(
        options.test,
        dataset.encoding,
        target=_test_target(options, dataset),
        target_required=True,
        images=images,
        threads=options.threads,
        monitor=monitor,
    )
    show_notes(test)
    if test.fingerprint() == dataset.fingerprint():
        tell("warning", f"--test {options.test}: these are the training rows; new rows tell how good the model is")
    return dataset, test


def _test_target(options: FitOptions, dataset: Dataset) -> str | None:
    """The column of labels of test data; a table's encoding has its name, an archive's has not."""
    return None if dataset.encoding.get("kind") == "table" else options.target
