"""The reference: a page for each public package, from its `__all__`, and one for each command, from its `--help`.

Both are written before Sphinx reads the pages, so that a name or an option that is added appears without more ado.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

PACKAGES = {
    "crosshead": "What is needed every day. Each name is at home in one of the packages below.",
    "crosshead.linear": "",
    "crosshead.losses": "",
    "crosshead.losses.functions": "",
    "crosshead.penalties": "",
    "crosshead.data": "",
    "crosshead.diagnostics": "",
    "crosshead.evaluation": "",
    "crosshead.explain": "",
    "crosshead.report": "",
    "crosshead.models": "",
    "crosshead.export": "",
    "crosshead.backbones": "",
    "crosshead.nn": "",
    "crosshead.nn.functional": "",
    "crosshead.nn.optim": "",
    "crosshead.nn.training": "",
    "crosshead.nn.parallel": "",
    "crosshead.solvers": "",
    "crosshead.engines": "",
    "crosshead.objective": "",
}
"""Public packages, in the order of the reference, and what to say of each where its docstring does not."""

NOT_PUBLIC = {"crosshead.nn.row_losses", "crosshead.nn.backends"}
"""Packages with an `__all__` that is for this repository's own use."""


def public_names(module: ModuleType) -> list[str]:
    """What a module declares public; without `__all__`, the functions and classes that are defined in it."""
    declared = getattr(module, "__all__", None)
    if declared is not None:
        return [name for name in declared if not name.startswith("__")]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]


def documented() -> dict[str, list[str]]:
    """The public names of each package that has any."""
    found = {package: public_names(import_module(package)) for package in PACKAGES}
    return {package: names for package, names in found.items() if names}


def home(package: str, name: str) -> str:
    """The full name under which an object is documented: in the deepest package that names it."""
    value = getattr(import_module(package), name)
    below = [
        other
        for other in PACKAGES
        if other.startswith(f"{package}.")
        and getattr(import_module(other), name, None) is value
        and name in public_names(import_module(other))
    ]
    return f"{max(below, key=len, default=package)}.{name}"


def kind(package: str, name: str) -> str:
    """The heading under which a name is listed."""
    value = getattr(import_module(package), name)
    if inspect.isclass(value):
        return "Classes"
    if inspect.ismodule(value):
        return "Modules"
    return "Functions" if inspect.isroutine(value) else "Constants"


def package_page(package: str, names: list[str]) -> str:
    """The page of one package."""
    own = inspect.cleandoc(import_module(package).__doc__ or "")
    lines = [package, "=" * len(package), "", PACKAGES[package] or escaped(own), ""]
    for heading in ("Classes", "Functions", "Constants"):
        members = [name for name in names if kind(package, name) == heading]
        if not members:
            continue
        lines += [heading, "-" * len(heading), ""]
        if heading == "Constants":
            for name in members:
                lines += [f"``{name}``", f"   {constant(package, name)}", ""]
            continue
        homes = [home(package, name) for name in members]
        own = [full for full in homes if full.rpartition(".")[0] == package]
        for listed, options in ((own, ["   :toctree: generated"]), ([full for full in homes if full not in own], [])):
            if listed:  # of those that are at home elsewhere the page is made there
                lines += [
                    ".. autosummary::",
                    "   :nosignatures:",
                    *options,
                    "",
                    *(f"   ~{full}" for full in listed),
                    "",
                ]
    return "\n".join(lines)


def constant(package: str, name: str) -> str:
    """What a constant holds, in short."""
    value = getattr(import_module(package), name)
    if isinstance(value, str):
        return f"Text of {len(value)} characters."
    if hasattr(value, "keys"):
        return f"A mapping with the keys {', '.join(f'``{key}``' for key in value)}."
    return f"``{value!r}``"


def command_help(name: str) -> str:
    """What `crosshead <name> --help` prints, at a width that fits the page."""
    os.environ["COLUMNS"] = "96"
    from crosshead.cli.main import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        main([*([name] if name else []), "--help"])
    return "\n".join(line.rstrip() for line in out.getvalue().strip().splitlines())


def command_names() -> list[str]:
    """The commands, in the order of `crosshead --help`."""
    listed = command_help("").split("Commands:\n")[1].split("\n\n")[0]
    return re.findall(r"^  (\S+)", listed, re.MULTILINE)


def command_page(name: str) -> str:
    """The page of one command."""
    title = f"crosshead {name}"
    block = "\n".join(f"   {line}".rstrip() for line in command_help(name).splitlines())
    return f"{title}\n{'=' * len(title)}\n\n.. code-block:: text\n\n{block}\n"


def write(path: Path, text: str) -> None:
    """Write a page, unless it holds that text already: Sphinx then need not read it again."""
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def forget(folder: Path, wanted: set[str]) -> None:
    """Remove the pages of names that are gone."""
    for path in folder.glob("*.rst"):
        if path.stem not in wanted:
            path.unlink()


def is_listed(package: str, name: str) -> bool:
    """Whether a name has a page of its own."""
    return kind(package, name) in ("Classes", "Functions")


def write_pages(app: Any, _config: Any = None) -> None:
    """Write all pages of the reference below docs/reference."""
    folder = Path(app.srcdir) / "reference"
    packages = documented()
    for package, names in packages.items():
        write(folder / "packages" / f"{package}.rst", package_page(package, names))
    commands = command_names()
    forget(folder / "packages", set(packages))
    listed = {home(package, name) for package, names in packages.items() for name in names if is_listed(package, name)}
    forget(folder / "packages" / "generated", listed)
    forget(folder / "commands", set(commands))
    for name in commands:
        write(folder / "commands" / f"{name}.rst", command_page(name))
    toctree = ".. toctree::\n   :maxdepth: 1\n\n"
    write(
        folder / "packages.rst",
        "Python\n======\n\n" + toctree + "".join(f"   packages/{package}\n" for package in packages),
    )
    top = "\n".join(f"   {line}".rstrip() for line in command_help("").splitlines())
    write(
        folder / "commands.rst",
        "Command line\n============\n\n.. code-block:: text\n\n"
        + top
        + "\n\n"
        + toctree
        + "".join(f"   commands/{name}\n" for name in commands),
    )


NOT_OURS = re.compile(r"set_\w+_request|get_metadata_routing|set_output|metadata_request")
"""Methods that scikit-learn adds to every estimator, documented there."""

BAR = re.compile(r"(``.*?``)|\|")


def escaped(text: str) -> str:
    """Text in which |x| is an absolute value, not a substitution."""
    return BAR.sub(lambda found: found[1] or r"\|", text)


def escape_bars(_app: Any, _what: str, _name: str, _value: Any, _options: Any, lines: list[str]) -> None:
    """Escape the bars of a docstring, but for its examples and tables."""
    example = False
    for place, line in enumerate(lines):
        example = line.lstrip().startswith(">>>") or (example and bool(line.strip()))
        if not example and not line.lstrip().startswith("|"):
            lines[place] = escaped(line)


def skip(_app: Any, _what: str, name: str, _value: Any, skipped: bool, _options: Any) -> bool | None:
    """Leave out what scikit-learn adds to every estimator."""
    return True if NOT_OURS.fullmatch(name) else None


STOP = "BaseEstimator,ClassifierMixin,TransformerMixin,Module,Optimizer,Protocol,tuple,Exception,Warning,object"


def setup(app: Any) -> dict[str, Any]:
    """Register the extension."""
    app.connect("config-inited", write_pages, priority=100)
    app.connect("autodoc-process-docstring", escape_bars, priority=100)
    app.connect("autodoc-skip-member", skip)
    app.connect("config-inited", give_templates_their_context, priority=100)
    return {"version": "1", "parallel_read_safe": True}


def give_templates_their_context(_app: Any, config: Any) -> None:
    """Where inherited members end: what scikit-learn, PyTorch and Python add is documented there."""
    config.autosummary_context = {**config.autosummary_context, "inherited_until": STOP}
