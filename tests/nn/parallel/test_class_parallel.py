"""Sharded heads are the single-process head, in worlds of 3, 2 and 1 processes, each started once.

What must hold is in cases.py, which every process runs; worker.py writes down what went wrong.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from crosshead.nn import ClassificationHead
from crosshead.nn.parallel import ClassParallelHead

HERE = Path(__file__).parent
LIMIT = 300
"""Seconds until a world that hangs is ended; what is exchanged in vain gives up earlier."""


def environment() -> dict[str, str]:
    """One thread a process, and this source."""
    paths = [str(HERE.parents[2] / "src"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def world(size: int, folder: Path) -> list[str]:
    """The tracebacks of the processes of a world, or what they said where they did not come to the end."""
    workers, outputs, errors = [], [], []
    for rank in range(size):
        output = folder / f"rank{rank}-of-{size}.txt"
        outputs.append(output)
        command = [sys.executable, "-W", "error::DeprecationWarning", HERE / "worker.py", rank, size, folder]
        with output.open("w", encoding="utf-8") as file:
            workers.append(
                subprocess.Popen([str(part) for part in command], env=environment(), stdout=file, stderr=file)
            )
    try:
        for worker in workers:
            worker.wait(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        errors.append(f"a world of {size} did not end in {LIMIT} s")
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for rank, (worker, output) in enumerate(zip(workers, outputs, strict=True)):
        file = folder / f"rank{rank}-of-{size}.json"
        said = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"the first case": None}
        errors += [f"{name}, rank {rank} of {size}:\n{text}" for name, text in said.items() if text]
        if worker.returncode or None in said.values():
            reached = next((name for name, text in said.items() if text is None), "its end")
            errors.append(f"rank {rank} of {size} did not come to {reached}:\n{output.read_text(encoding='utf-8')}")
    return errors


def test_every_case_holds_in_every_world(tmp_path):
    """One test, so that tests on several workers start the worlds once; two and one load what three have saved."""
    for size in (3, 2, 1):
        errors = world(size, tmp_path)
        assert not errors, "\n".join(errors)


def test_without_processes_it_says_how_to_get_some():
    with pytest.raises(RuntimeError, match="init_process_group"):
        ClassParallelHead(ClassificationHead(3, 5))


def test_a_head_on_meta_keeps_its_data():
    weight = torch.rand(5)
    head = ClassificationHead(3, 5, weight=weight, device="meta")
    assert head.weight.is_meta
    assert torch.equal(head.class_weight, weight)


def test_the_example_trains_in_two_processes(tmp_path):
    example = HERE.parents[2] / "examples" / "faces_parallel.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", example]
    options = ["--size", "28", "24", "--batch", "24", "--epochs", 2, "--checkpoint", tmp_path / "saved", "--json"]
    done = subprocess.run(
        [str(part) for part in [*command, *options]],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert list(found) == ["pixels", "ArcFace"]
    assert 0 <= found["ArcFace"]["eer"] < 0.5
    assert "epoch 2 of 2, loss" in done.stderr
    assert list((tmp_path / "saved").glob("*.distcp"))
