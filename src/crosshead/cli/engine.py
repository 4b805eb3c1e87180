"""Which engine computes here, and which crosshead this is."""

from __future__ import annotations

from importlib import metadata

from crosshead.cli.errors import UsageError, tell
from crosshead.engines import has_native


def engine_name(choice: str) -> str:
    """The engine that ``choice`` stands for here, with its instruction set."""
    if choice == "reference" or not has_native():
        return "reference"
    from crosshead import _native  # it need not be built

    return f"native ({_native.instruction_set()})"


def check_engine(choice: str) -> None:
    """UsageError where a native engine that was not built is asked for; a line where "auto" does without."""
    if has_native():
        return
    if choice == "native":
        raise UsageError(
            "--engine native: it was not built into this installation; reinstall crosshead where a C++ "
            "compiler is found, or leave the option out"
        )
    if choice == "auto":
        tell(
            "note",
            "no native engine in this installation, so the slower reference engine computes; "
            "to build it, reinstall crosshead where a C++ compiler is found",
        )


def installed_version() -> str:
    """The version of crosshead, or "(not installed)" where it runs from its sources."""
    try:
        return metadata.version("crosshead")
    except metadata.PackageNotFoundError:
        return "(not installed)"
