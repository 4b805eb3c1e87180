"""constraints.txt pins all that the tests install, and says how old it is."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import constraints
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent


def requirements() -> list[Requirement]:
    """What pyproject.toml asks for to build, run and test crosshead."""
    content = constraints.project()
    project = content["project"]
    extras = [entry for entries in project["optional-dependencies"].values() for entry in entries]
    texts = [*content["build-system"]["requires"], *project["dependencies"], *extras]
    return [found for found in map(Requirement, texts) if found.name != "crosshead"]


def test_it_is_dated() -> None:
    assert constraints.date_of_constraints() >= datetime.date(2026, 1, 1)


def test_every_requirement_is_pinned_and_fits() -> None:
    pinned = constraints.pinned()
    for requirement in requirements():
        version = pinned[constraints.normalised(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: constraints.txt has {version}"


def test_the_lowest_versions_are_those_of_pyproject() -> None:
    lowest = constraints.lowest()
    for requirement in requirements():
        name = constraints.normalised(requirement.name)
        if name in lowest:  # what builds crosshead is the newest, whatever it runs with
            assert requirement.specifier.contains(lowest[name])
            assert Version(lowest[name]) <= Version(constraints.pinned()[name])


def test_make_installs_by_it() -> None:
    """Each environment but those that are to have other versions is installed with these."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = re.findall(r"(?:\$\((?:[A-Z_]+|1)\)/bin/python -m pip install|\$\(call INSTALL).*(?:\\\n.*)?", makefile)
    free = [line for line in installs if "$(PINNED)" not in line and "constraint " not in line and "$(2)" not in line]
    assert len(installs) > len(free)
    assert all("$(NEWEST)" in line or "$(WHEEL_TRIAL)" in line for line in free)
