"""What `crosshead fit` does once its options are read: read, train, measure, save, show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.commands.fit import show as fit_report
from crosshead.cli.embedding import embedded_source, how_of, load_again, open_backbone
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, FAILED, UsageError, WorkError, tell
from crosshead.cli.fitted import Fitted, model_of, train
from crosshead.cli.folders import model_folder_for
from crosshead.cli.labels import class_indices, training_classes
from crosshead.cli.measures import Computing, fitted_scaler, measure
from crosshead.cli.options.loss import chosen_loss
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import show_notes
from crosshead.data import Dataset, load, open_images, split
from crosshead.scaling import Scaler


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
    fit_report.show(fitted)
    return FAILED if fitted.classifier.status_ == "interrupted" else DONE


def _fit_network(options: FitOptions, folder: Path, monitor: Monitor) -> Fitted:
    from crosshead.cli.commands.fit.network import fit_network

    return fit_network(options, folder, monitor)


def _fit(options: FitOptions, folder: Path, monitor: Monitor) -> Fitted:
    monitor.stage(f"reading {options.source}")
    whole = _read(options, monitor)
    show_notes(whole)
    training, test = _parts(options, whole, monitor)
    classes = training_classes(training)
    test_indices = None if test is None else class_indices(test, classes)
    monitor.stage("scaling" if options.scale != "none" else "starting")
    scaler = _scaler(options, training)
    assert options.alpha is not None  # only a network's last layer has it chosen by validation
    classifier = train(options, options.alpha, scaler.apply(training.features), training.target, monitor)
    monitor.stage("measuring")
    split_from = whole.fingerprint() if options.test_fraction is not None else None
    model = model_of(options, training, scaler, classifier, split_from)
    computing = Computing(options.engine, options.threads)
    on_training = measure(model, training.features, class_indices(training, model.classes), computing)
    on_test = None
    if test is not None and test_indices is not None:
        on_test = measure(model, test.features, test_indices, computing)
    judged, title = (training if test is None else test), "row" if whole.row_names is None else "file"
    return Fitted(options, classifier, model, folder, on_training, on_test, judged, title)


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
    """Where the page goes, beside the model's folder unless told otherwise; None where none is wanted."""
    if not options.report:
        return None
    from crosshead.cli.commands.report.run import check_page

    name = options.report_output or str(folder.with_name(f"{folder.resolve().name}-report.html"))
    return check_page(name, "--report-output")


def _write_report(fitted: Fitted, page: Path) -> None:
    from crosshead.cli.commands.report.run import TRAINED_ON_THESE, Judged, contents_of, write_page
    from crosshead.cli.commands.report.words import commands_for
    from crosshead.report.page.build import Settings

    options, training_only = fitted.options, fitted.test is None
    caution = TRAINED_ON_THESE if training_only else None
    name = "training rows" if training_only else "test rows" if options.test_fraction is None else "held-out rows"
    commands = commands_for(fitted.model, options.source, str(fitted.folder), options.test)
    contents = contents_of(
        fitted.model,
        Judged(fitted.judged, name, fitted.row_title, options.test, caution),
        options.source,
        computing=Computing(options.engine, options.threads),
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
        return split(_numbered(dataset) if options.report else dataset, options.test_fraction, options.seed)
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


def _numbered(dataset: Dataset) -> Dataset:
    from crosshead.cli.commands.report.run import numbered

    return numbered(dataset)


def _test_target(options: FitOptions, dataset: Dataset) -> str | None:
    """A table remembers its target's name; of an archive it has to be said again."""
    return None if dataset.encoding.get("kind") == "table" else options.target


def _scaler(options: FitOptions, training: Dataset) -> Scaler:
    return fitted_scaler(options.scale, training.features, options.source)
