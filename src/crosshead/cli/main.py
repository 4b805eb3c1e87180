"""The program `crosshead`: its commands, and how errors, warnings and Ctrl-C are shown."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from crosshead.cli.commands.calibrate import calibrate
from crosshead.cli.commands.check import check
from crosshead.cli.commands.compare import compare
from crosshead.cli.commands.describe import describe
from crosshead.cli.commands.embed import embed
from crosshead.cli.commands.evaluate import evaluate
from crosshead.cli.commands.explain import explain
from crosshead.cli.commands.export import export
from crosshead.cli.commands.fit import fit
from crosshead.cli.commands.path import path
from crosshead.cli.commands.predict import predict
from crosshead.cli.commands.report import report
from crosshead.cli.commands.top_losses import top_losses
from crosshead.cli.errors import DEBUG_VARIABLE, DONE, FAILED, answer_to, show_traceback, tell
from crosshead.cli.output import show_text

INTERRUPTED = 130  # what typer returns for Ctrl-C

app = typer.Typer(
    name="crosshead",
    help="The last layer of a classifier: weights with a certificate.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 the input or the arguments are wrong.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command(name="fit")(fit)
app.command(name="embed")(embed)
app.command(name="predict")(predict)
app.command(name="evaluate")(evaluate)
app.command(name="path")(path)
app.command(name="top-losses")(top_losses)
app.command(name="report")(report)
app.command(name="explain")(explain)
app.command(name="check")(check)
app.command(name="compare")(compare)
app.command(name="calibrate")(calibrate)
app.command(name="describe")(describe)
app.command(name="export")(export)


def _print_version(wanted: bool) -> None:
    if wanted:
        from crosshead.cli.engine import engine_name, installed_version

        show_text(f"crosshead {installed_version()}, engine {engine_name('auto')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _program(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version and engine."),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        show_text(context.get_help())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (``sys.argv`` by default) and return its exit code."""
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            command = typer.main.get_command(app)
            outcome = command.main(args=arguments, prog_name="crosshead", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            outcome = INTERRUPTED
        except Exception as error:
            return _fail(error)
    if outcome == INTERRUPTED:
        tell("error", "interrupted; nothing was saved")
        return FAILED
    return outcome if isinstance(outcome, int) else DONE


def _fail(error: Exception) -> int:
    if os.environ.get(DEBUG_VARIABLE):
        show_traceback(error)
    code, message = answer_to(error)
    tell("error", message)
    return code


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    tell("warning", str(message))
