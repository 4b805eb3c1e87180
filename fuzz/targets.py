"""What is done with a case: the readers alone, and the commands that a person would run on the files."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np

from fuzz.guard import command
from fuzz.seeds import Seed

Options = dict[str, Any]
Target = Callable[[Seed, Options], "str | None"]

WITH_DAYS = frozenset({"csv", "tsv", "csv-gz", "parquet-pandas"})
"""Tables with a column of dates, which no command takes as it is."""

THREADS = ["--threads", "1"]


def load_data(seed: Seed, options: Options) -> None:
    """Read a source, and touch every number and label."""
    from crosshead.data import fingerprint, load, split, take

    chosen = dict(options)
    if chosen.pop("learned", False):
        chosen["encoding"] = seed.encoding
    data = load(seed.source, **chosen)
    fingerprint(data)
    if data.n_rows > 1:
        parts = split(data, 0.5, 0)
        with np.errstate(over="ignore", invalid="ignore"):  # products of numbers up to 1e308 are our own doing
            parts[0].features @ parts[0].features[:1].T
    take(data, [0])
    if data.test is not None:
        fingerprint(data.test)


def open_pictures(seed: Seed, options: Options) -> None:
    """Open images and decode them all."""
    from crosshead.data import ImageForm, open_images

    source = open_images(seed.source, **options)
    for _ in source.batches(ImageForm((6, 6), 3), batch_size=4, workers=0, skip_broken=True):
        pass


def read_predictions(seed: Seed, options: Options) -> None:
    """Read a file of predictions, and check every row."""
    from crosshead.data import read_predictions as read

    found = read(seed.source, **options)
    for _ in found.blocks():
        pass
    found.fingerprint()
    found.row_name(0)


def load_model(seed: Seed, options: Options) -> None:
    """Load a model."""
    from crosshead.models import Model

    Model.load("model")


def load_network(seed: Seed, options: Options) -> None:
    """Load a backbone and give it pixels."""
    import numpy as np

    from crosshead.backbones import load_backbone

    backbone = load_backbone(seed.source, options or None, threads=1)
    height, width = backbone.preprocessing.size
    backbone.embed(np.zeros((2, height, width, backbone.preprocessing.n_channels), dtype=np.uint8))


def run_command(seed: Seed, options: Options) -> str | None:
    """A command in this process."""
    return command(options["arguments"])


TARGETS: dict[str, Target] = {
    "load": load_data,
    "images": open_pictures,
    "predictions": read_predictions,
    "model": load_model,
    "network": load_network,
    "command": run_command,
}


def choose(generator: random.Random, seed: Seed, *, commands_only: bool = False) -> tuple[str, Options]:
    """A target for a case of this seed, and its options."""
    share = 1.0 if commands_only else {"model": 0.6, "backbone": 0.3}.get(seed.group, 0.15)
    if generator.random() < share:
        return "command", {"arguments": _arguments(generator, seed)}
    if seed.group == "predictions":
        return "predictions", _some(generator, {
            "target": generator.choice(("label", "labels", "y", "zzz", "cat")),
            "row_id": generator.choice(("row", "file", "zzz", "cat")),
            "scores": True,
            "target_required": False,
            "ignore": generator.choice((("row",), ("file",), ("zzz",))),
        })  # fmt: skip
    if seed.group == "model":
        return "model", {}
    if seed.group == "backbone":
        return "network", _some(generator, {"size": [8, 8], "crop": 0.5, "white": 255.0, "layout": "nhwc"})
    if seed.group == "images" and generator.random() < 0.5:
        return "images", _some(generator, {"target": "label", "labels_required": True, "classes": False})
    return "load", _load_options(generator, seed)


def _some(generator: random.Random, options: Options) -> Options:
    """Mostly no options, else one or two."""
    count = generator.choice((0, 0, 0, 1, 2))
    return {name: options[name] for name in generator.sample(sorted(options), count)}


def _load_options(generator: random.Random, seed: Seed) -> Options:
    options: Options = {"target_required": False, "learned": True}
    if seed.group == "images":
        options |= {"size": generator.choice((4, 8)), "skip_broken": True}
    options["target"] = generator.choice(("target", "y", "a", "zzz", "label"))
    options["ignore"] = generator.choice((["a"], ["day", "word"], ["zzz"]))
    chosen = _some(generator, options)
    if seed.kind in WITH_DAYS and generator.random() < 0.8:
        chosen["ignore"] = ["day"]
    if seed.kind == "images":
        chosen["size"] = 8
    return chosen


def _arguments(generator: random.Random, seed: Seed) -> list[str]:
    """A command line that reads the case's files."""
    return generator.choice(command_lines(seed))


def command_lines(seed: Seed) -> list[list[str]]:
    """Command lines that read a seed's files; what is listed twice is chosen twice as often."""
    if seed.group == "predictions":
        first = ["evaluate", seed.source]
        return [
            first,
            first,
            [*first, "--json"],
            [*first, "--confusion"],
            [*first, "--scores"],
            ["compare", seed.source, "honest.csv", "--resamples", "20"],
            ["evaluate", "honest.csv", "--labels", seed.source],
        ]
    if seed.group == "backbone":
        output = ["--output", "features.npz", "--workers", "0", *THREADS]
        return [["embed", "images.npz", "--backbone", seed.source, *output]]
    size = ["--size", "8x8"] if seed.kind == "images" else []
    ignore = ["--ignore", "day"] if seed.kind in WITH_DAYS else []
    reading = [*ignore, *THREADS]
    of_images = seed.group == "images" and seed.kind != "image-npz"
    pictures = ["--workers", "0"] if of_images or seed.kind in ("model-embedding", "model-cnn") else []
    of_model = [
        ["predict", "model", seed.source, *pictures, *THREADS],
        ["predict", "model", seed.source, "--proba", "--json", *pictures, *THREADS],
        ["predict", "model", seed.source, "--output", "out.csv", "--top", "2", *pictures, *THREADS],
        ["evaluate", "model", seed.source, *THREADS],
        ["top-losses", "model", seed.source, *THREADS],
        ["explain", "model", seed.source, "--row", "1"],
    ]
    if seed.group == "model":
        return [
            *of_model,
            of_model[0],
            ["describe", "model"],
            ["describe", "model", "--json"],
            # What PyTorch exports takes seconds.
            ["describe", "model"] if seed.kind == "model-cnn" else ["export", "model", "out.onnx"],
            ["calibrate", "model", seed.source, "--output", "calibrated", *THREADS],
            ["explain", "model", seed.source, "--row", "2", "--json"],
        ]
    return [
        ["check", seed.source, *size, *reading],
        ["check", seed.source, "--json", *size, *reading],
        ["fit", seed.source, "--max-iter", "3", "--max-time", "4", "--output", "fitted", *size, *reading],
        *of_model,
    ]
