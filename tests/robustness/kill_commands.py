"""Kills every command that writes, at random moments and on a full disk, and looks at what is left.

    python tests/robustness/kill_commands.py --kills 200 --seed 1

Each trial starts a command in a process of its own, in a folder without its outputs or with old ones, and ends it by
SIGKILL: at a random time, as soon as it writes, or before its n-th change of the disk. Or the disk is full, and the
command must say so in one line; some of these runs are killed, too. Then each output must be absent or the old one, if
it was so before, or complete; and the same command, run to its end, must leave exactly the files of an undisturbed run.

The disk that is full is a small one in memory where this process may mount it, else a limit on the size of files.
The last line has the counts; the exit code is 0 where nothing was torn and nothing left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

import crosshead
from crosshead.models import Model

SMALL_DISK = 48 << 20
MAX_SECONDS = 300.0

# Counts what changes the disk, as far as Python sees it, and kills itself before the one that is asked for.
RUNNER = """
import atexit, os, signal, sys
at, counts, limit = int(os.environ["KILL_AT"]), os.environ["KILL_COUNTS"], int(os.environ["KILL_LIMIT"])
seen = 0
def step():
    global seen
    if seen == at:
        os.kill(os.getpid(), signal.SIGKILL)
    seen += 1
def hook(event, arguments):
    if event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "fcntl.flock"):
        step()
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        if not isinstance(arguments[0], int) and os.fsdecode(arguments[0]) != os.devnull:
            step()
sync = os.fsync
def fsync(descriptor):
    step()
    sync(descriptor)
os.fsync = fsync
def tell():
    global at
    at = -1
    with open(counts, "w") as stream:
        stream.write(str(seen))
if limit >= 0:
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
else:
    atexit.register(tell)
sys.dont_write_bytecode = True
sys.addaudithook(hook)
from crosshead.cli.start import run
run()
"""

Complete = Callable[[Path], bool]


def whole_model(path: Path) -> bool:
    Model.load(path)
    return True


def whole_page(path: Path) -> bool:
    return path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def whole_csv(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").split("\n")
    return lines.pop() == "" and len({line.count(",") for line in lines}) == 1


def whole_table(path: Path) -> bool:
    from pyarrow import parquet

    return parquet.read_table(path).num_rows > 0


def whole_archive(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        return archive.testzip() is None


def whole_features(path: Path) -> bool:
    return crosshead.load(str(path)).n_rows > 0


def whole_graph(path: Path) -> bool:
    import onnx

    onnx.checker.check_model(onnx.load(path))
    return True


def whole_svg(path: Path) -> bool:
    return ElementTree.parse(path).getroot().tag.endswith("svg")


def whole_training(path: Path) -> bool:
    from crosshead.nn.training.checkpoint import read_checkpoint

    read_checkpoint(path)
    return True


@dataclass(frozen=True)
class Command:
    """A command line, what tells of each of its outputs whether it is complete, and old models to begin with."""

    name: str
    words: tuple[str, ...]
    outputs: dict[str, Complete]
    packages: tuple[str, ...] = ()
    old: dict[str, str] = field(default_factory=dict)


def commands() -> list[Command]:
    table, photos, net = "../inputs/flowers.csv", "../inputs/photos", "../inputs/net.onnx"
    model, embedded = "../inputs/model", "../inputs/photo-model"
    cached = {"cache": whole_cache}
    how = ("--cache", "cache", "--workers", "0")
    with_model = {"m": model}
    return [
        Command("fit", ("fit", table, "--target", "kind", "--output", "m"), {"m": whole_model}, old=with_model),
        Command(
            "fit --report",
            ("fit", table, "--target", "kind", "--test", "0.2", "--report", "--output", "m"),
            {"m": whole_model, "m-report.html": whole_page},
            ("matplotlib", "jinja2"),
            with_model,
        ),
        Command(
            "fit --backbone",
            ("fit", photos, "--backbone", net, "--white", "1", "--mean", "0", "--std", "1", *how, "--output", "m"),
            {"m": whole_model, **cached},
            ("onnx", "onnxruntime"),
            with_model,
        ),
        Command(
            "fit --backbone cnn",
            (
                *("fit", photos, "--backbone", "cnn", "--widths", "8,8", "--epochs", "4", "--workers", "0"),
                *("--resume", "--output", "m"),
            ),
            {"m": whole_model, "m-training": whole_training},
            ("torch",),
            with_model,
        ),
        *(
            Command(
                f"predict, {end}", ("predict", model, table, "--proba", "--output", f"p.{end}"), {f"p.{end}": whole}
            )
            for end, whole in (("csv", whole_csv), ("parquet", whole_table), ("npz", whole_archive))
        ),
        Command(
            "predict images",
            ("predict", embedded, photos, "--proba", "--skip-broken", "--workers", "0", "--output", "p.npz"),
            {"p.npz": whole_archive},
            ("onnx", "onnxruntime"),
        ),
        Command("evaluate images", ("evaluate", embedded, photos, *how), cached, ("onnx", "onnxruntime")),
        Command(
            "report",
            ("report", model, table, "--output", "page.html"),
            {"page.html": whole_page},
            ("matplotlib", "jinja2"),
        ),
        Command("explain", ("explain", model, table, "--row", "3", "--output", "page.html"), {"page.html": whole_page}),
        Command("top-losses", ("top-losses", model, table, "-n", "9999", "--output", "l.csv"), {"l.csv": whole_csv}),
        Command(
            "compare images", ("compare", embedded, f"{embedded}-2", photos, *how), cached, ("onnx", "onnxruntime")
        ),
        Command(
            "path",
            (
                *("path", table, "--target", "kind", "--alphas", "4", "--cv", "2"),
                *("--output", "m", "--picture", "p.svg"),
            ),
            {"m": whole_model, "p.svg": whole_svg},
            ("matplotlib",),
            with_model,
        ),
        Command(
            "calibrate",
            ("calibrate", model, "../inputs/more.csv", "--target", "kind", "--output", "m"),
            {"m": whole_model},
            old=with_model,
        ),
        Command("export", ("export", model, "g.onnx"), {"g.onnx": whole_graph}, ("onnx", "onnxruntime")),
        *(
            Command(
                f"embed, {end}",
                (
                    *("embed", photos, "--backbone", net, "--white", "1", "--mean", "0", "--std", "1"),
                    *("--workers", "0", "--output", f"f.{end}"),
                ),
                {f"f.{end}": whole_features},
                ("onnx", "onnxruntime"),
            )
            for end in ("npz", "parquet")
        ),
    ]


def whole_cache(path: Path) -> bool:
    return all(whole_features(file) for file in path.glob("[!.]*"))


def make_inputs(folder: Path) -> None:
    """A table, images, a network and models of them."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name, count in (("flowers", 4000), ("more", 500)):
        values = generator.normal(size=(count, 8)).round(3)
        noisy = values[:, 0] + values[:, 1] + generator.normal(size=count)
        kinds = np.array(["lily", "rose", "tulip"])[np.digitize(noisy, [-1, 1])]
        rows = [",".join(map(str, row)) + f",{kind}" for row, kind in zip(values.tolist(), kinds.tolist(), strict=True)]
        (folder / f"{name}.csv").write_text("a,b,c,d,e,f,g,h,kind\n" + "\n".join(rows) + "\n")
    for name, light in (("dark", 40), ("light", 120)):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(60):
            pixels = generator.integers(light, light + 100, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "photos" / name / f"{number:02}.png")


def make_models(folder: Path) -> None:
    run_plainly(folder, "fit", "flowers.csv", "--target", "kind", "--alpha", "0.01", "--output", "model")
    if is_there("onnx") and is_there("onnxruntime"):
        make_network(folder / "net.onnx")
        stated = ("--white", "1", "--mean", "0", "--std", "1", "--cache", "cache")
        fit = ("fit", "photos", "--backbone", "net.onnx", *stated)
        run_plainly(folder, *fit, "--output", "photo-model")
        run_plainly(folder, *fit, "--alpha", "1", "--output", "photo-model-2")


def make_network(path: Path) -> None:
    import onnx

    helper, floats = onnx.helper, onnx.TensorProto.FLOAT
    kernels = np.random.default_rng(1).normal(size=(256, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["images", "kernels"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["f"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", floats, ["n", 3, 16, 16])],
        [helper.make_tensor_value_info("f", floats, ["n", 256])],
        [onnx.numpy_helper.from_array(kernels, "kernels")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)


def is_there(package: str) -> bool:
    try:
        __import__(package)
    except ImportError:
        return False
    return True


def environment(folder: Path, at: int = -1, limit: int = -1) -> dict[str, str]:
    home = Path(crosshead.__file__).parents[1]
    return {
        **os.environ,
        "PYTHONPATH": str(home),
        "OMP_NUM_THREADS": "1",
        "CROSSHEAD_CACHE": str(folder / "no-cache"),
        "KILL_AT": str(at),
        "KILL_COUNTS": str(folder / "counts"),
        "KILL_LIMIT": str(limit),
    }


def run_plainly(folder: Path, *words: str) -> None:
    line = [sys.executable, "-m", "crosshead", *words]
    subprocess.run(line, cwd=folder, env=environment(folder), check=True, capture_output=True)


@dataclass
class Reference:
    """What an undisturbed run leaves and takes: names of files, seconds, changes of the disk, bytes."""

    names: list[str]
    seconds: float
    steps: int
    size: int


def listing(work: Path) -> list[str]:
    return sorted(str(path.relative_to(work)) for path in work.rglob("*"))


def content(path: Path) -> object:
    """All that a file or folder holds, None where there is none."""
    if not path.exists():
        return None
    if path.is_file():
        return path.read_bytes()
    return {str(one.relative_to(path)): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


class Trials:
    """Runs commands, and counts what happened."""

    def __init__(self, folder: Path, small_disk: Path | None, choose: random.Random) -> None:
        self.folder, self.small_disk, self.choose = folder, small_disk, choose
        self.counts: Counter[str] = Counter(killed=0, full=0, torn=0, litter=0, stuck=0, unclear=0)
        self.left: Counter[str] = Counter()

    def start(self, work: Path, words: Sequence[str], *, at: int = -1, limit: int = -1) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", RUNNER, *words],
            cwd=work,
            env=environment(self.folder, at, limit),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def measure(self, command: Command) -> Reference:
        work = self.empty(self.folder / "work", command, old=False)
        began = time.monotonic()
        done = self.start(work, command.words)
        _, said = done.communicate(timeout=MAX_SECONDS)
        if done.returncode != 0:
            raise SystemExit(f"{command.name}: exit code {done.returncode} without a kill: {said}")
        seconds = time.monotonic() - began
        for name, whole in command.outputs.items():
            assert whole(work / name), f"{command.name}: {name}"
        size = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        return Reference(listing(work), seconds, int((self.folder / "counts").read_text()), size)

    def empty(self, work: Path, command: Command, *, old: bool) -> Path:
        """The folder with nothing but, perhaps, old outputs."""
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        for name in command.outputs if old else ():
            if name in command.old:
                shutil.copytree(self.folder / "work" / command.old[name], work / name)
            elif "." in name:
                (work / name).write_text("what was there")
        return work

    def trial(self, command: Command, reference: Reference) -> None:
        method = self.choose.choice(["time", "appearance", "step", "step", "full", "full and step"])
        old = self.choose.random() < 0.5
        is_full = method.startswith("full")
        home = self.folder if self.small_disk is None or not is_full else self.small_disk
        work = self.empty(home / "work", command, old=old)
        before = {name: content(work / name) for name in command.outputs}
        at = self.choose.randrange(reference.steps) if "step" in method else -1
        room = self.choose.randrange(int(1.1 * reference.size)) if is_full else -1
        described = f"{command.name}: {method}, step {at}, room {room}, {'old' if old else 'no'} outputs"
        ballast = home / "ballast"
        if is_full and self.small_disk is not None:
            fill(ballast, shutil.disk_usage(home).free - room)
        process = self.start(work, command.words, at=at, limit=room if is_full and self.small_disk is None else -1)
        if method == "time":
            wait(process, self.choose.random() * reference.seconds)
        if method == "appearance":
            watch(process, work)
            wait(process, self.choose.random() * 0.004)
        if not is_full and at < 0:
            process.kill()
        _, said = process.communicate(timeout=MAX_SECONDS)
        self.judge_end(process.returncode, said, described, is_full=is_full)
        for name, whole in command.outputs.items():
            if not self.is_as_promised(work / name, before[name], whole):
                self.complain("torn", f"{described}: {name} after the kill")
        self.left.update(name for name in listing(work) if "/." in f"/{name}" and name not in reference.names)
        ballast.unlink(missing_ok=True)
        again = self.start(work, command.words)
        _, said = again.communicate(timeout=MAX_SECONDS)
        if again.returncode != 0:
            self.complain("stuck", f"{described}: the next run ends with {again.returncode}: {said}")
        if listing(work) != reference.names:
            strange = sorted(set(listing(work)) ^ set(reference.names))
            self.complain("litter", f"{described}: {strange} after the next run")
        for name, whole in command.outputs.items():
            if not self.is_as_promised(work / name, b"never", whole):
                self.complain("torn", f"{described}: {name} after the next run")

    def judge_end(self, code: int, said: str, described: str, *, is_full: bool) -> None:
        lines = said.strip().splitlines()
        if code == -signal.SIGKILL:
            self.counts["killed"] += 1
        elif code == 1 and is_full:
            self.counts["full"] += 1
            reasons = ("No space left on device", "File too large")
            if not lines or not any(reason in lines[-1] for reason in reasons) or "Traceback" in said:
                self.complain("unclear", f"{described}: {said}")
        elif code != 0:
            self.complain("unclear", f"{described}: exit code {code}: {said}")

    @staticmethod
    def is_as_promised(path: Path, before: object, whole: Complete) -> bool:
        if content(path) == before:
            return True
        try:
            return whole(path)
        except Exception as error:
            print(f"{path}: {type(error).__name__}: {error}", file=sys.stderr)
            return False

    def complain(self, what: str, line: str) -> None:
        self.counts[what] += 1
        print(f"{what}: {line}", file=sys.stderr, flush=True)


def wait(process: subprocess.Popen[str], seconds: float) -> None:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


def watch(process: subprocess.Popen[str], work: Path) -> None:
    """Wait until the command writes beside one of its outputs, or has ended."""
    while process.poll() is None:
        for folder in (work, *work.glob("[!.]*/")):
            if any(name.startswith(".") for name in os.listdir(folder)):
                return
        time.sleep(0.0003)


def fill(path: Path, size: int) -> None:
    with path.open("wb") as stream:
        while size > 0:
            try:
                size -= stream.write(bytes(min(size, 1 << 20)))
                stream.flush()
            except OSError:  # the last page
                return


def mount_small_disk(folder: Path) -> Path | None:
    """A disk in memory, where this process may mount one."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return None
    line = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)]
    done = subprocess.run(line, check=False, capture_output=True)
    return folder if done.returncode == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="go on until so many runs were killed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="WORD", default="", help="commands whose names have this in them")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and let go of the small disk
    chosen = [one for one in commands() if options.only in one.name]
    skipped = [one.name for one in chosen if not all(map(is_there, one.packages))]
    chosen = [one for one in chosen if one.name not in skipped]
    if skipped:
        print(f"left out, for want of packages: {', '.join(skipped)}")
    with tempfile.TemporaryDirectory(prefix="crosshead-kills-") as name:
        folder = Path(name)
        make_inputs(folder / "inputs")
        make_models(folder / "inputs")
        small_disk = mount_small_disk(folder / "small")
        try:
            if small_disk is not None:
                shutil.copytree(folder / "inputs", small_disk / "inputs")
            trials = Trials(folder, small_disk, random.Random(options.seed))
            references = {one.name: trials.measure(one) for one in chosen}
            print(
                f"{len(chosen)} commands, {sum(one.seconds for one in references.values()):.0f} s without a kill",
                flush=True,
            )
            began = time.monotonic()
            number = 0
            while trials.counts["killed"] < options.kills:
                command = chosen[number % len(chosen)]
                trials.trial(command, references[command.name])
                number += 1
                if number % 10 == 0:
                    print(f"{time.monotonic() - began:.0f} s, {number} trials: {said(trials.counts)}", flush=True)
        finally:
            if small_disk is not None:
                subprocess.run(["umount", str(small_disk)], check=False)
    print(f"hidden names that were left by {number} runs, before the next: {sum(trials.left.values())}")
    disk = "files of limited size" if small_disk is None else "a small disk"
    print(f"{len(chosen)} commands, seed {options.seed}, full disk: {disk}; {said(trials.counts)}")
    print(json.dumps(dict(trials.counts)))
    return int(any(trials.counts[name] for name in ("torn", "litter", "stuck", "unclear")))


def said(counts: Counter[str]) -> str:
    return (
        f"{counts['killed']} killed, {counts['full']} stopped by a full disk; {counts['torn']} torn, "
        f"{counts['litter']} with litter, {counts['stuck']} not repeated, {counts['unclear']} unclear"
    )


if __name__ == "__main__":
    sys.exit(main())
