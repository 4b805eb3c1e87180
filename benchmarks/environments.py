"""The virtual environments of the peers, and what machine and libraries a run had."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "src"

DESCRIBE = """
import importlib.metadata as m, json, platform
names = sorted({f"{d.metadata['Name']}=={d.version}" for d in m.distributions()}, key=str.lower)
blas = []
for module in ("numpy", "scipy.linalg", "torch", "sklearn.linear_model"):
    try: __import__(module)
    except ImportError: pass
try:
    from threadpoolctl import threadpool_info
    blas = [{k: i.get(k) for k in ("user_api", "internal_api", "version", "architecture")} for i in threadpool_info()]
except ImportError: pass
print(json.dumps({"python": platform.python_version(), "packages": names, "thread_pools": blas}))
"""


def requirements() -> dict[str, list[str]]:
    """The sections of peers.txt."""
    sections: dict[str, list[str]] = {}
    for raw in (HERE / "peers.txt").read_text().splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            sections[line.strip("[]")] = []
        elif line:
            next(reversed(sections.values())).append(line)
    return sections


def python_of(environment: str) -> Path:
    """The interpreter of an environment; ours is the one that runs this."""
    return HERE / f".venv-{environment}" / "bin" / "python" if environment else Path(sys.executable)


def is_there(environment: str) -> bool:
    """Whether the environment was set up to the end."""
    return not environment or (HERE / f".venv-{environment}" / ".installed").is_file()


def setup() -> list[str]:
    """Make every environment that is not there yet; the names of those that could not be made."""
    failed = []
    for name, packages in requirements().items():
        if is_there(name):
            continue
        print(f"setting up {name}: {' '.join(packages)}", file=sys.stderr)
        folder = HERE / f".venv-{name}"
        install = [str(python_of(name)), "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *packages]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run(install, check=True)
        except (subprocess.CalledProcessError, OSError) as error:
            print(f"cannot set up {name}: {error}", file=sys.stderr)
            failed.append(name)
        else:
            (folder / ".installed").touch()
    return failed


def variables(threads: int) -> dict[str, str]:
    """Environment variables under which every solver runs: equal thread counts, and our source tree for ourselves."""
    counts = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "BLIS_NUM_THREADS")
    return {**os.environ, **dict.fromkeys(counts, str(threads)), "PYTHONDONTWRITEBYTECODE": "1"}


def variables_of(environment: str, threads: int) -> dict[str, str]:
    """The same for one environment: PYTHONPATH reaches ours alone."""
    values = variables(threads)
    path = values.pop("PYTHONPATH", "")
    if not environment:
        values["PYTHONPATH"] = path
    return values


def describe(environment: str, threads: int) -> dict[str, Any]:
    """Python, packages and BLAS of an environment."""
    command = [str(python_of(environment)), "-c", DESCRIBE]
    done = subprocess.run(command, env=variables_of(environment, threads), capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def machine() -> dict[str, Any]:
    """CPU, cores, memory and system."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": facts.get("model name", platform.processor()),
        "cores": len(os.sched_getaffinity(0)),
        "instruction_sets": [flag for flag in flags if flag.startswith(("avx", "amx", "fma"))],
        "memory_gb": round(memory / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
    }


@cache
def commit() -> str:
    """The commit of the working tree, "+" for changes on top; "" outside a repository."""
    try:
        run = {"cwd": HERE, "capture_output": True, "text": True, "check": True}
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], **run).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--", "../src", "../native"], **run).stdout.strip()
    except (subprocess.CalledProcessError, OSError):
        return ""
    return name + ("+" if changed else "")


def describe_run(environments: list[str], threads: int) -> dict[str, Any]:
    """Everything that a reader of the figures wants to know of where they come from."""
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "threads": threads,
        "machine": machine(),
        "environments": {name or "crosshead": describe(name, threads) for name in environments if is_there(name)},
    }
