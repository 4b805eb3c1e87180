"""Train a small network on faces with three heads, and verify people it has never seen.

    python examples/faces.py orl_faces.zip
    python examples/faces.py folder --held-out 20 --epochs 60 --picture roc.svg --json

The data is a folder with one folder of images for each person, or a ZIP file of one. People, not images, are held out:
the networks are trained to classify the others, and then tested on whether two images of people they have never seen
show the same person. The table compares softmax, CosFace and ArcFace with the same network, initial weights, batches
and number of steps; "pixels" is the cosine of the images minus the mean image, without any training.

It needs crosshead[torch]; the picture needs crosshead[plot] as well.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from crosshead.data import DataError, load
from crosshead.evaluation import Roc, folded_accuracy, pair_similarity, pairs_by_fold, roc_of_embeddings
from crosshead.nn import ClassificationHead, MarginHead

EMBEDDING = 128
FARS = (1e-2, 1e-3)
HEADS: dict[str, Callable[[int, argparse.Namespace], nn.Module]] = {
    "softmax": lambda people, options: ClassificationHead(EMBEDDING, people),
    "CosFace": lambda people, options: MarginHead(EMBEDDING, people, m2=0.0, m3=options.m3, scale=options.scale),
    "ArcFace": lambda people, options: MarginHead(EMBEDDING, people, m2=options.m2, scale=options.scale),
}


@dataclass(frozen=True)
class Faces:
    """Grey images (n, 1, height, width) between −1 and 1, and the number of the person (n,)."""

    images: Tensor
    person: Tensor
    names: list[str]

    def of(self, people: Tensor) -> Faces:
        """The faces of these people only, numbered from 0."""
        rows = torch.isin(self.person, people)
        place = torch.full((len(self.names),), -1)
        place[people] = torch.arange(len(people))
        return Faces(self.images[rows], place[self.person[rows]], [self.names[k] for k in people.tolist()])


class Network(nn.Module):
    """Four convolutional blocks, and an embedding of 128 numbers."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        channels = 1
        for wide in (16, 32, 64, 64):
            blocks += [nn.Conv2d(channels, wide, 3, padding=1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()]
            blocks += [nn.MaxPool2d(2, ceil_mode=True)]
            channels, height, width = wide, -(-height // 2), -(-width // 2)
        self.blocks = nn.Sequential(*blocks)
        self.embed = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels * height * width, EMBEDDING, bias=False),
            nn.BatchNorm1d(EMBEDDING),
        )  # fmt: skip

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (n, 128) of images (n, 1, height, width)."""
        found: Tensor = self.embed(self.blocks(images))
        return found


def main(arguments: list[str] | None = None) -> int:
    """Run; returns 2 if the data or the options are wrong."""
    options = parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        faces = read(Path(options.source), options.size)
        parts = list(partitions(faces, options.held_out, options.repeats, options.seed))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    repeats = []
    for number, (seen, unseen) in enumerate(parts):
        say(
            f"repeat {number + 1} of {len(parts)}: {len(seen.names)} people to learn ({len(seen.person)} images), "
            f"{len(unseen.names)} held out ({len(unseen.person)} images)"
        )
        results, curves = repeat(seen, unseen, options)
        repeats.append({"held_out": unseen.names, "heads": results})
        if number == 0 and options.picture:
            picture(curves, Path(options.picture))
    if options.json:
        print(json.dumps(repeats, indent=1))
    else:
        print(table([found["heads"] for found in repeats]))
    return 0


def repeat(seen: Faces, unseen: Faces, options: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Roc]]:
    """Measures and curves by head, for one choice of people held out."""
    results, curves = {}, {}
    results["pixels"], curves["pixels"] = measured(pixels(seen, unseen), unseen, options)
    for name in options.heads:
        started = time.perf_counter()
        network = trained(seen, name, options)
        results[name], curves[name] = measured(embeddings(network, unseen.images), unseen, options)
        results[name]["seconds"] = round(time.perf_counter() - started, 1)
    return results, curves


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(description="Faces: softmax, CosFace and ArcFace, verified on people held out.")
    made.add_argument("source", help="a folder with a folder of images for each person, or a ZIP file of one")
    made.add_argument("--held-out", type=int, default=10, help="people who are not trained on [10]")
    made.add_argument("--repeats", type=int, default=1, help="trainings, each with other people held out [1]")
    made.add_argument("--epochs", type=int, default=40, help="passes over the training images [40]")
    made.add_argument("--batch", type=int, default=32, help="images a step [32]")
    made.add_argument("--rate", type=float, default=2e-3, help="highest learning rate [0.002]")
    made.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS), help="which to train [all]")
    made.add_argument("--m2", type=float, default=0.5, help="ArcFace's margin in radians [0.5]")
    made.add_argument("--m3", type=float, default=0.35, help="CosFace's margin [0.35]")
    made.add_argument("--scale", type=float, default=16.0, help="factor of the cosines [16]")
    made.add_argument("--size", type=int, nargs=2, default=(56, 46), metavar=("HEIGHT", "WIDTH"), help="[56 46]")
    made.add_argument("--seed", type=int, default=0, help="for the people held out, initial weights and batches [0]")
    made.add_argument("--threads", type=int, default=0, help="of PyTorch [its own choice]")
    made.add_argument("--picture", help="where to write the ROC curves of the first repeat: .svg, .png or .pdf")
    made.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return made


def read(source: Path, size: tuple[int, int]) -> Faces:
    """The faces of a folder or a ZIP file."""
    if source.is_dir() or not zipfile.is_zipfile(source):
        return read_folder(source, size)
    with TemporaryDirectory() as place, zipfile.ZipFile(source) as packed:
        packed.extractall(place)
        return read_folder(innermost(Path(place)), size)


def innermost(folder: Path) -> Path:
    """The folder with the people's folders, below folders that have only one folder."""
    inside = [entry for entry in folder.iterdir() if not entry.name.startswith((".", "__"))]
    return innermost(inside[0]) if len(inside) == 1 and inside[0].is_dir() else folder


def read_folder(folder: Path, size: tuple[int, int]) -> Faces:
    """The faces of a folder of folders."""
    data = load(folder, size=(size[0], size[1]))
    pixels = np.asarray(data.features, dtype=np.float32).reshape(data.n_rows, *size, -1).mean(axis=3)
    names, person = np.unique(np.asarray(data.target), return_inverse=True)
    images = torch.from_numpy(pixels)[:, None] / 127.5 - 1
    return Faces(images, torch.from_numpy(person.reshape(-1)), [str(name) for name in names])


def partitions(faces: Faces, held_out: int, repeats: int, seed: int) -> Iterator[tuple[Faces, Faces]]:
    """People for training and people held out, for each repeat; nobody is held out twice."""
    count = len(faces.names)
    if not 2 <= held_out <= count - 2:
        raise DataError(f"{count} people cannot have {held_out} held out: at least 2 must be, and at least 2 remain")
    if not 1 <= repeats <= count // held_out:
        raise DataError(f"{count} people make at most {count // held_out} repeats with {held_out} held out in each")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for start in range(0, repeats * held_out, held_out):
        out = order[start : start + held_out]
        yield faces.of(order[~torch.isin(order, out)].sort().values), faces.of(out.sort().values)


def trained(faces: Faces, name: str, options: argparse.Namespace) -> Network:
    """A network trained with the head of this name; initial weights and batches depend only on the seed."""
    torch.manual_seed(options.seed)
    network = Network(*faces.images.shape[2:])
    head = HEADS[name](len(faces.names), options)
    steps = options.epochs * -(-len(faces.person) // options.batch)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], lr=options.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=steps)
    generator = torch.Generator().manual_seed(options.seed)
    for epoch in range(options.epochs):
        total = 0.0
        for rows in batches(len(faces.person), options.batch, generator):
            optimizer.zero_grad()
            loss = head(network(varied(faces.images[rows], generator)), faces.person[rows])
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 10 == 0 or epoch + 1 == options.epochs:
            say(f"{name}: epoch {epoch + 1} of {options.epochs}, loss {total / len(faces.person):.4f} nats")
    return network.eval()


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """All rows in random order, in batches of nearly equal size: batch normalisation needs more than one row."""
    yield from torch.randperm(count, generator=generator).tensor_split(-(-count // size))


def varied(images: Tensor, generator: torch.Generator) -> Tensor:
    """The images with random changes: mirrored, shifted by up to four pixels, brighter or darker."""
    count, _, height, width = images.shape
    mirrored = torch.rand(count, 1, 1, 1, generator=generator) < 0.5
    images = torch.where(mirrored, images.flip(3), images)
    padded = F.pad(images, (4, 4, 4, 4), mode="replicate")
    corner = torch.randint(9, (2, count), generator=generator).tolist()
    moved = [padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(zip(*corner, strict=True))]
    gain, offset = (0.4 * torch.rand(2, count, 1, 1, 1, generator=generator) - 0.2).unbind()
    return torch.stack(moved) * (1 + gain) + offset


@torch.no_grad()
def embeddings(network: Network, images: Tensor) -> np.ndarray[Any, Any]:
    """The embeddings of images, each the sum with that of the mirror image."""
    parts = [network(part) + network(part.flip(3)) for part in images.split(256)]
    return torch.cat(parts).numpy()


def pixels(seen: Faces, unseen: Faces) -> np.ndarray[Any, Any]:
    """The images of the people held out, minus the mean of the training images."""
    return (unseen.images - seen.images.mean(dim=0)).flatten(1).numpy()


def measured(found: np.ndarray[Any, Any], faces: Faces, options: argparse.Namespace) -> tuple[dict[str, Any], Roc]:
    """Verification of all pairs; accuracy on equally many genuine and impostor pairs."""
    curve = roc_of_embeddings(found, faces.person.numpy())
    people = len(faces.names)
    folds = min(10, people // 2, max(2, people // 5))  # at least five people in each, if there are enough
    pairs = pairs_by_fold(faces.person.numpy(), folds=folds, pairs=400, seed=options.seed)
    result = curve.to_dict(FARS)
    if pairs.fold.max() > 0:
        similarity = pair_similarity(found, pairs.left, pairs.right)
        result["accuracy"] = folded_accuracy(similarity, pairs.same, pairs.fold).accuracy
    return result, curve


def table(repeats: list[dict[str, dict[str, Any]]]) -> str:
    """A table of means over repeats ± their standard deviation."""
    first = repeats[0]["pixels"]
    lines = [f"{'':8}" + "".join(f"{title:>18}" for title in (*(f"TAR at FAR {far:g}" for far in FARS), "EER", "AUC"))]
    for name in repeats[0]:
        found = [result[name] for result in repeats]
        columns = [[one["tar_at_far"][place]["tar"] for one in found] for place in range(len(FARS))]
        columns += [[one[measure] for one in found] for measure in ("eer", "auc")]
        if "accuracy" in first:
            columns.append([one["accuracy"] for one in found])
        lines.append(f"{name:8}" + "".join(f"{spread(column):>18}" for column in columns))
    if "accuracy" in first:
        lines[0] += f"{'accuracy':>18}"
    lines.append(f"{first['genuine_pairs']} genuine and {first['impostor_pairs']} impostor pairs in each repeat")
    unresolved = [point["requested"] for point in first["tar_at_far"] if not point["resolved"]]
    lines += [f"so few impostor pairs allow no false acceptance at FAR {far:g}" for far in unresolved]
    return "\n".join(lines)


def spread(values: list[float]) -> str:
    """A mean in per cent, with the standard deviation if there are several values."""
    text = f"{100 * float(np.mean(values)):.1f}"
    return f"{text} ± {100 * float(np.std(values, ddof=1)):.1f} %" if len(values) > 1 else f"{text} %"


def picture(curves: dict[str, Roc], file: Path) -> None:
    """Draw the curves to an image file."""
    from crosshead.report import RocDisplay
    from crosshead.report.figures import draw, save_figure

    display = RocDisplay(curves)
    save_figure(draw(display, 6.0, 4.5), file)
    say(f"{file}: {display.describe()}")


def say(text: str) -> None:
    """Print a line to stderr."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
