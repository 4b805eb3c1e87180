"""A case: a seed, edits of its files, and what reads them. A name such as ``npz:7:123`` always means the same case."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from fuzz import edits as editing
from fuzz import mutators, seeds, targets
from fuzz.edits import Edit, Files
from fuzz.guard import Verdict, judge


@dataclass(frozen=True)
class Case:
    """What is read, and how; all of it can be written as JSON."""

    kind: str
    target: str
    options: dict[str, Any] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    sign: bool = True
    name: str = ""
    says: str = ""

    def to_json(self) -> str:
        """The case as a document."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Case:
        """The case of a document."""
        return cls(**json.loads(text))

    @property
    def seed(self) -> seeds.Seed:
        """Its honest files."""
        return seeds.seed(self.kind)

    def changed(self) -> Files:
        """The seed's files after the edits."""
        files = editing.apply_all(self.seed.files, self.edits, seed_files)
        if self.sign and self.seed.group == "model":
            editing.sign(files, "model")
        return files


def seed_files(kind: str) -> Files:
    """The files of a seed, for splicing."""
    return seeds.seed(kind).files


def draw(kind: str, run: int, number: int, *, commands_only: bool = False) -> Case:
    """The case of this name."""
    generator = random.Random(f"{kind}:{run}:{number}")
    seed = seeds.seed(kind)
    target, options = targets.choose(generator, seed, commands_only=commands_only)
    partners = [name for name in seeds.kinds() if name not in seeds.TORCH_KINDS]
    # A splice takes bytes of a seed of any kind, but only of kinds that need no PyTorch to make.
    edits = mutators.propose(generator, seed.files, partners, seed_files)
    sign = generator.random() < 0.95
    return Case(kind, target, options, edits, sign, f"{kind}:{run}:{number}")


class Bench:
    """A folder where cases are laid down and run, one after the other, with a file beside it that none may read."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        place = str(memory) if memory.is_dir() and os.access(memory, os.W_OK) else None
        self.base = Path(tempfile.mkdtemp(prefix="crosshead-fuzz-", dir=place)).resolve()
        self.folder = self.base / "case"
        self.secret = self.base / "secret.csv"
        self.secret.write_text("a,target\n1,x\n2,y\n" * 100)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.base, ignore_errors=True)

    @contextmanager
    def laid_down(self, case: Case, *, change_folder: bool = True) -> Iterator[Files]:
        """The case's files in the folder, which becomes the working folder."""
        files = case.changed()
        seed = case.seed
        before = Path.cwd()
        self.folder.mkdir()
        if change_folder:
            os.chdir(self.folder)
        try:
            # What is beside is written first: an edit may put something in its place.
            if case.target == "command" or seed.group in ("model", "backbone"):
                editing.write(seed.beside, self.folder)
            editing.write(files, self.folder)
            (self.folder / f"{mutators.CANARY}.py").write_text("open('EXECUTED', 'w').close()\ndef touch(): pass\n")
            (self.folder / ".cache").mkdir(exist_ok=True)
            yield files
        finally:
            if change_folder:
                os.chdir(before)
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, case: Case, *, seconds: float, log: TextIO | None = None, native: int | None = None) -> Verdict:
        """Run a case in this process, which it may end."""
        os.environ["CROSSHEAD_CACHE"] = str(self.folder / ".cache")
        os.utime(self.secret, (0, 1))
        with self.laid_down(case) as files:
            tempfile.tempdir = str(self.folder)  # not before: seeds are made in temporary folders too
            honest = max(editing.size(case.seed.files), editing.size(files))
            target, seed, options = targets.TARGETS[case.target], case.seed, case.options
            try:
                verdict = judge(
                    lambda: target(seed, options), self.folder, honest, seconds=seconds, log=log, native_stderr=native
                )
            finally:
                tempfile.tempdir = None
            if (self.folder / "EXECUTED").exists():
                verdict.outcome, verdict.message = "code", "the module in the working folder was imported"
        if self.secret.stat().st_atime > 0 and not verdict.failed:  # C++ opens files without Python's knowing
            verdict.outcome, verdict.message = (
                "outside",
                f"a file outside the folder was read ({verdict.message[:100]})",
            )
        strays = sorted(
            entry.name for entry in self.base.iterdir() if entry.name not in ("secret.csv", "log", "stderr")
        )
        if strays and not verdict.failed:
            verdict.outcome, verdict.message = "outside", f"written outside the folder: {', '.join(strays)[:200]}"
        for name in strays:
            path = self.base / name
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
        return verdict
