"""`crosshead evaluate`: how well a saved model does on labelled rows."""

from __future__ import annotations

from crosshead.cli import options


def evaluate(
    model: options.ModelFolder,
    source: options.Source,
    target: options.Target = None,
    ignore: options.Ignore = None,
    test_rows: options.TestRows = False,
    engine: options.Engine = "auto",
    threads: options.Threads = None,
    as_json: options.AsJson = False,
) -> int:
    """Compare MODEL's predictions with the labels of SOURCE.

    Shows the share of wrong predictions, the mean cross-entropy in nats and bits (or the mean loss where the
    model has no probabilities), and the errors class by class where there are at most 20 classes.
    """
    options.choice("--engine", engine, options.ENGINES)
    from crosshead.cli.evaluating import Request, run

    return run(Request(model, source, target, tuple(ignore or ()), test_rows, engine, threads, as_json))
