"""Train a small network on faces in several processes, each of which holds the classes of some people.

    torchrun --standalone --nproc-per-node=2 examples/faces_parallel.py orl_faces.zip
    torchrun --standalone --nproc-per-node=2 examples/faces_parallel.py folder --head CosFace --sample-rate 0.5 --json

Data, network and measures are those of faces.py. Every process has the network, in DistributedDataParallel, a part of
each batch, and the directions of some people, in a `ClassParallelHead`. With a checkpoint folder a training continues
from an earlier one, with any number of processes. Without a data set it uses synthetic images.

It needs crosshead[torch] and runs on CPUs, with gloo.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import faces
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from crosshead.data import DataError
from crosshead.nn import MarginHead, RowSparseAdam
from crosshead.nn.parallel import ClassParallelHead


def main(arguments: list[str] | None = None) -> int:
    """Run in every process; returns 2 if the data or the options are wrong."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads or 1)
    try:
        data = faces.read(Path(options.source), options.size) if options.source else synthetic(options.size)
        seen, unseen = next(faces.partitions(data, options.held_out, 1, options.seed))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    dist.init_process_group("gloo")
    try:
        network = trained(seen, options)
        if dist.get_rank() == 0:
            report(network, seen, unseen, options)
    finally:
        dist.destroy_process_group()
    return 0


def parser() -> argparse.ArgumentParser:
    """The options: those of faces.py that matter here, and a few more."""
    made = argparse.ArgumentParser(
        description="Faces: a network in several processes, each with the classes of some people."
    )
    made.add_argument("source", nargs="?", help="a folder with a folder for each person, or a ZIP file of one")
    made.add_argument("--head", choices=("CosFace", "ArcFace"), default="ArcFace", help="[ArcFace]")
    made.add_argument("--held-out", type=int, default=10, help="people who are not trained on [10]")
    made.add_argument("--epochs", type=int, default=40, help="passes over the training images [40]")
    made.add_argument("--batch", type=int, default=32, help="images a step, of all processes together [32]")
    made.add_argument("--rate", type=float, default=2e-3, help="learning rate [0.002]")
    made.add_argument("--m2", type=float, default=0.5, help="ArcFace's margin in radians [0.5]")
    made.add_argument("--m3", type=float, default=0.35, help="CosFace's margin [0.35]")
    made.add_argument("--scale", type=float, default=16.0, help="factor of the cosines [16]")
    made.add_argument("--sample-rate", type=float, default=1.0, help="share of the people in a step [1]")
    made.add_argument("--size", type=int, nargs=2, default=(56, 46), metavar=("HEIGHT", "WIDTH"), help="[56 46]")
    made.add_argument("--seed", type=int, default=0, help="for the people held out, initial weights and batches [0]")
    made.add_argument("--threads", type=int, default=0, help="of PyTorch in each process [1]")
    made.add_argument("--checkpoint", type=Path, help="a folder: read if it exists, and written at the end")
    made.add_argument("--json", action="store_true", help="one JSON document on stdout")
    return made


def trained(data: faces.Faces, options: argparse.Namespace) -> faces.Network:
    """The trained network, the same in all processes; each has a part of the head that it is trained with."""
    torch.manual_seed(options.seed)
    network = faces.Network(*data.images.shape[2:])
    margins = {"m2": 0.0, "m3": options.m3} if options.head == "CosFace" else {"m2": options.m2}
    head = ClassParallelHead(
        MarginHead(
            faces.EMBEDDING,
            len(data.names),
            scale=options.scale,
            sample_rate=options.sample_rate,
            sample_seed=options.seed,
            device="meta",
            **margins,
        )
    )
    everything = nn.ModuleDict({"network": network, "head": head})
    if options.checkpoint and options.checkpoint.exists():
        state = everything.state_dict()
        checkpoint.load(state, checkpoint_id=options.checkpoint)
        everything.load_state_dict(state)
    averaged = DistributedDataParallel(network)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(network.parameters(), options.rate, weight_decay=1e-3)]
    if options.sample_rate < 1:
        optimizers.append(RowSparseAdam(head.parameters(), options.rate))
    else:
        optimizers.append(torch.optim.AdamW(head.parameters(), options.rate, weight_decay=1e-3))
    generator = torch.Generator().manual_seed(options.seed)  # the same batches in all processes
    for epoch in range(options.epochs):
        total = 0.0
        for rows in faces.batches(len(data.person), options.batch, generator):
            images = faces.varied(data.images[rows], generator)
            mine = own_part(len(rows))
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss = head(averaged(images[mine]), data.person[rows][mine])  # over all rows, the same in every process
            loss.backward()
            for optimizer in optimizers:
                optimizer.step()
            total += loss.item() * len(rows)
        if (epoch + 1) % 10 == 0 or epoch + 1 == options.epochs:
            say(f"{options.head}: epoch {epoch + 1} of {options.epochs}, loss {total / len(data.person):.4f} nats")
    if options.checkpoint:
        checkpoint.save(everything.state_dict(), checkpoint_id=options.checkpoint)
        say(f"{options.checkpoint}: written by {dist.get_world_size()} processes")
    return network.eval()


def own_part(rows: int) -> Tensor:
    """The rows of a batch for this process; DistributedDataParallel needs some in each."""
    return torch.arange(rows).tensor_split(dist.get_world_size())[dist.get_rank()]


def report(network: faces.Network, seen: faces.Faces, unseen: faces.Faces, options: argparse.Namespace) -> None:
    """Print the verification of the people held out, by the network and by pixels."""
    found = {
        "pixels": faces.measured(faces.pixels(seen, unseen), unseen, options)[0],
        options.head: faces.measured(faces.embeddings(network, unseen.images), unseen, options)[0],
    }
    print(json.dumps(found, indent=1) if options.json else faces.table([found]))


def synthetic(size: tuple[int, int]) -> faces.Faces:
    """Twenty people with ten images each: a pattern for each person, with different noise in every image."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(20, 1, 7, 6, generator=generator)
    patterns = torch.nn.functional.interpolate(coarse, size=tuple(size), mode="bilinear")
    images = patterns.repeat_interleave(10, dim=0)
    images = 0.4 * images + 0.3 * torch.randn(images.shape, generator=generator)
    names = [f"person {k}" for k in range(20)]
    return faces.Faces(images.clamp(-1, 1), torch.arange(20).repeat_interleave(10), names)


def say(text: str) -> None:
    """Print a line to stderr, from the first process only."""
    if dist.get_rank() == 0:
        faces.say(text)


if __name__ == "__main__":
    sys.exit(main())
