"""What `crosshead fit --backbone cnn` does: train a network on images, then solve its last layer exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crosshead.atomic_files import is_temporary
from crosshead.backbones.cnn_backbone import CnnBackbone, pixel_preprocessing
from crosshead.backbones.embedding import BATCH
from crosshead.cli.commands.fit import FitOptions
from crosshead.cli.commands.fit.network_images import Images, read_images
from crosshead.cli.commands.fit.show import Fitted, NetworkFit, network_document
from crosshead.cli.errors import UsageError, WorkError, tell
from crosshead.cli.progress import Monitor
from crosshead.cli.training import estimator_options, fit_record, trained_model
from crosshead.data import Dataset, split
from crosshead.data.dataset import Array, take
from crosshead.data.formats.feature_files import BACKBONE, KIND
from crosshead.data.images.decoding_pool import images_per_batch
from crosshead.models import measure
from crosshead.models.labels import class_indices, training_classes
from crosshead.models.serialization import NETWORK
from crosshead.nn import CNN, Augmentation, Trainer, TrainingOptions
from crosshead.nn.training import fit_last_layer
from crosshead.nn.training.checkpoint import CHECKPOINT, HISTORY, CheckpointError
from crosshead.nn.training.trainer import DivergedError, Moment, Trained


def fit_network(options: FitOptions, folder: Path, monitor: Monitor) -> Fitted:
    """Train network and last layer, measure both, and make the model; nothing but checkpoints is written."""
    checkpoints = _checkpoint_folder(options, folder)
    monitor.stage(f"reading {options.source}")
    images = read_images(options, monitor)
    parts = _Parts(options, images)
    network, trained = _train_network(options, images, parts, checkpoints, monitor)
    monitor.stage("features of all images")
    return _solve_last_layer(options, folder, images, parts, network, trained, checkpoints / HISTORY, monitor)


class _Parts:
    """Which rows are for training, validation and test; and the classes."""

    def __init__(self, options: FitOptions, images: Images) -> None:
        numbers = Dataset(
            np.arange(len(images.pixels), dtype=np.float64)[:, None], images.labels, source=options.source
        )
        self.whole, test = numbers, None
        if options.test_fraction is not None:
            numbers, test = split(numbers, options.test_fraction, options.seed)
        self.classes = training_classes(numbers)
        assert options.network is not None
        learning, choosing = split(numbers, options.network.validation, options.seed)
        _check_learning(learning, self.classes)
        self.learning, self.choosing = _rows(learning), _rows(choosing)
        self.test = None if test is None else _rows(test)
        self.target = class_indices(self.whole, self.classes).astype(np.int64)
        if images.test is not None:  # labels that training does not know are better told before it
            class_indices(
                Dataset(np.zeros((len(images.test.pixels), 1)), images.test.labels, source=images.test.source.source),
                self.classes,
            )


def _check_learning(learning: Dataset, classes: Array) -> None:
    """UsageError, before any time is spent on training, where validation took all images of a class."""
    missing = np.setdiff1d(classes, np.unique(learning.target)) if learning.target is not None else classes
    if missing.size:
        raise UsageError(
            f"{learning.source}: beside the images held out, no image of class {missing[0]} is left to learn from; "
            "give more images, or hold out a smaller share of them with --validation"
        )


def _rows(numbers: Dataset) -> Array:
    return np.asarray(numbers.features[:, 0], dtype=np.int64)


def _train_network(
    options: FitOptions, images: Images, parts: _Parts, checkpoints: Path, monitor: Monitor
) -> tuple[CNN, Trained]:
    import torch

    chosen = options.network
    assert chosen is not None
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    learning = torch.from_numpy(parts.learning)

    def watch(moment: Moment, epochs: int, steps: int) -> None:
        monitor.detail(moment.line(epochs, steps))

    try:
        loss = options.loss if "m1" not in chosen.network else "margin"
        bias: dict[str, Any] = {} if loss == "margin" else {"bias": options.intercept}
        own = {} if loss == "margin" else options.loss_parameter or {}
        head = {**own, **bias, **chosen.network}
        network = CNN(tuple(images.pixels.shape[1:]), len(parts.classes), loss, **head)
        training = TrainingOptions(
            **chosen.training,
            augmentation=Augmentation(**chosen.augmentation),
            balanced=options.class_weight is not None,
            seed=options.seed,
        )
        trainer = Trainer(
            network,
            training,
            folder=checkpoints,
            resume=chosen.resume,
            watch=watch,
            name=images.source.place,
        )
        trained = trainer.fit(
            torch.from_numpy(images.pixels), torch.from_numpy(parts.target), torch.from_numpy(parts.choosing), learning
        )
        torch.set_num_threads(trained.threads)  # the features' last bits depend on it as the weights' do
    except DivergedError as error:
        raise WorkError(str(error)) from error
    except CheckpointError as error:
        raise UsageError(str(error)) from error
    except ValueError as error:
        raise UsageError(f"--backbone cnn: {error}") from error
    except KeyboardInterrupt:
        if not (checkpoints / CHECKPOINT).is_file():
            raise
        raise WorkError(
            f"interrupted; no model was saved, but {checkpoints} keeps the last whole epoch: --resume goes on after it"
        ) from None
    return network, trained


def _solve_last_layer(
    options: FitOptions,
    folder: Path,
    images: Images,
    parts: _Parts,
    network: CNN,
    trained: Trained,
    history: Path,
    monitor: Monitor,
) -> Fitted:
    content = network.to_bytes()
    stated = pixel_preprocessing(images.form.to_dict() | {"colours": images.colours})
    stated.pop("channels")
    backbone = CnnBackbone(folder / NETWORK, stated, content)
    whole = _dataset(images, backbone, options.images.batch_size)
    learning, choosing = take(whole, parts.learning), take(whole, parts.choosing)
    test = take(whole, parts.test) if parts.test is not None else None
    if images.test is not None:
        test = _dataset(images.test, backbone, options.images.batch_size)
    try:
        found = fit_last_layer(
            network,
            learning.features,
            learning.target,
            validation=(choosing.features, choosing.target),
            test=None if test is None else (test.features, test.target),
            classes=parts.classes,
            alpha=options.alpha,
            scale=options.scale,
            precision=options.precision,
            callback=monitor,
            watch=monitor.stage,
            **estimator_options(options),
        )
    except ValueError as error:
        raise UsageError(f"{options.source}: {error}") from error
    fit = NetworkFit(trained, str(history), found)
    # Validation rows were held out of the source, too: a later evaluation on all of it is told so.
    record = {**fit_record(found.classifier, whole.fingerprint()), "network": network_document(fit)}
    model = trained_model(options, found.classifier, learning, found.scaler, record)
    model = replace(model, network=content, hyperparameters={**model.hyperparameters, "network": _said(options)})
    computing: dict[str, Any] = {"engine": options.engine, "n_threads": options.threads}
    on_training = measure(model, learning, **computing)
    on_test = None if test is None else measure(model, test, **computing)
    judged, title = learning if test is None else test, "row" if images.source.names is None else "file"
    return Fitted(options, found.classifier, model, folder, on_training, on_test, judged, title, network=fit)


def _dataset(images: Images, backbone: CnnBackbone, batch_size: int) -> Dataset:
    """The features of images, in the batches in which `crosshead.backbones.embed` would make them."""
    step = images_per_batch(backbone.preprocessing.form, batch_size)
    features = [
        backbone.embed(images.pixels[first : first + step].transpose(0, 2, 3, 1))
        for first in range(0, len(images.pixels), step)
    ]
    return Dataset(
        np.concatenate(features),
        images.labels,
        row_names=[images.source.name(row) for row in range(len(images.source))],
        encoding={"kind": KIND, BACKBONE: {**backbone.description, BATCH: batch_size}},
        source=images.source.source,
        notes=images.source.notes,
    )


def _said(options: FitOptions) -> dict[str, Any]:
    assert options.network is not None
    chosen = options.network
    return {**chosen.network, **chosen.training, **chosen.augmentation, "validation": chosen.validation}


def _is_of(files: list[Path], name: str) -> bool:
    """Whether a file of that name is one of these, or what a killed run left of one."""
    return any(name == file.name or is_temporary(name, file) for file in files)


def _checkpoint_folder(options: FitOptions, folder: Path) -> Path:
    """Where checkpoints go; UsageError where something else lies there, or nothing to resume."""
    assert options.network is not None
    named = options.network.checkpoints
    place = folder.with_name(f"{folder.resolve().name}-training") if named is None else Path(named)
    if place.exists() and not place.is_dir():
        raise UsageError(f"{place}: a file is in the way of the checkpoints; choose another folder with --checkpoints")
    files = [place / CHECKPOINT, place / HISTORY]
    entries = list(place.iterdir()) if place.is_dir() else []
    foreign = sorted(
        entry.name for entry in entries if entry.is_symlink() or not entry.is_file() or not _is_of(files, entry.name)
    )
    if foreign:
        raise UsageError(f"{place}: holds {foreign[0]!r}, which is no checkpoint; choose another with --checkpoints")
    if options.network.resume and not (place / CHECKPOINT).is_file():
        tell("note", f"{place} holds no checkpoint; training begins at the start")
    return place
