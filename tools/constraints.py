"""Versions of all that crosshead is built and tested with.

    python tools/constraints.py renew     write constraints.txt: the newest releases that fit together
    python tools/constraints.py lowest    print the lowest versions that pyproject.toml admits

`make test` and `make demo` install what constraints.txt says, so that no release of another project changes what they
do; `make test-newest` and `make test-lowest` show whether the tests pass with the newest and the lowest versions.
"""

from __future__ import annotations

import datetime
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "constraints.txt"
DATED = "# Newest releases of "
INSTALLER = "pip==26.0"
"""The installer itself; the first that keeps constraints of a build apart from those of what is installed is 25.3."""

ONLY_WITH_CUDA = re.compile(r"nvidia-|cuda-|triton$")
"""What PyTorch's builds for GPUs require: other builds do without, so these are left open."""


def project() -> dict[str, Any]:
    """The content of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def normalised(name: str) -> str:
    """A package's name as indices spell it.

    >>> normalised("Jinja2"), normalised("typing_extensions")
    ('jinja2', 'typing-extensions')
    """
    return re.sub(r"[-_.]+", "-", name).lower()


def newest() -> dict[str, str]:
    """What the newest releases are that fit together, by package; nothing is installed."""
    asked = [*project()["build-system"]["requires"], "cmake", "ninja", INSTALLER, f"{ROOT}[docs,test]"]
    options = ["--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    command = [sys.executable, "-m", "pip", "install", *options, *asked]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    packages = [entry["metadata"] for entry in json.loads(found.stdout)["install"]]
    versions = {normalised(each["name"]): each["version"].partition("+")[0] for each in packages}
    del versions["crosshead"]
    return {name: versions[name] for name in sorted(versions) if not ONLY_WITH_CUDA.match(name)}


def renew() -> None:
    """Write constraints.txt."""
    lines = [f"{DATED}{datetime.date.today().isoformat()}; `make constraints` renews them."]
    lines += [f"{name}=={version}" for name, version in newest().items()]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def lowest() -> dict[str, str]:
    """The lowest versions that the dependencies and the extras admit, by package."""
    content = project()["project"]
    extras = [entry for entries in content["optional-dependencies"].values() for entry in entries]
    versions: dict[str, str] = {}
    for entry in [*content["dependencies"], *(entry for entry in extras if not entry.startswith("crosshead["))]:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)(>=|==)([0-9.]+)", entry)
        if match is None:
            raise SystemExit(f"pyproject.toml: {entry!r} states no lowest version; write NAME>=VERSION")
        name, relation, version = normalised(match[1]), match[2], match[3]
        if relation == "==" or name not in versions:
            versions[name] = version
    return versions


def date_of_constraints() -> datetime.date:
    """The day on which constraints.txt was made."""
    first = FILE.read_text(encoding="utf-8").splitlines()[0]
    return datetime.date.fromisoformat(first.removeprefix(DATED)[:10])


def pinned() -> dict[str, str]:
    """The versions in constraints.txt, by package."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


if __name__ == "__main__":
    if sys.argv[1:] == ["renew"]:
        renew()
    elif sys.argv[1:] == ["lowest"]:
        print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
    else:
        raise SystemExit(f"usage: {sys.argv[0]} renew | lowest")
