"""What `crosshead check` does once its options are read."""

from __future__ import annotations

from crosshead.cli.commands.check import CheckOptions
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, FAILED
from crosshead.cli.output import show_json, show_pairs, show_text
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import show_notes
from crosshead.cli.training import chosen_loss
from crosshead.data import load
from crosshead.diagnostics import Diagnosis, check
from crosshead.diagnostics.finding import FAILED_CHECK, PASSED, WARNING


def run(options: CheckOptions) -> int:
    """Check and show; exit code 1 where a check failed."""
    check_engine(options.engine)
    loss = chosen_loss(options)
    with Monitor() as monitor:
        monitor.stage(f"reading {options.source}")
        dataset = load(
            options.source,
            target=options.target,
            size=options.size,
            ignore=options.ignore,
            skip_broken=options.skip_broken,
        )
        show_notes(dataset)
        found = check(
            dataset,
            loss=loss,
            alpha=options.alpha,
            l1_ratio=options.l1_ratio,
            scale=options.scale,
            fit_intercept=options.intercept,
            engine=options.engine,
            n_threads=options.threads,
            random_state=options.seed,
            callback=monitor.stage,
        )
    if options.as_json:
        _show_json(options, found)
    else:
        _show(found)
    return DONE if found.passed else FAILED


def _show_json(options: CheckOptions, found: Diagnosis) -> None:
    rows, features = found.shape
    show_json(
        {
            "source": options.source,
            "rows": rows,
            "features": features,
            "classes": found.n_classes,
            "loss": options.loss,
            "loss_parameters": options.loss_parameter or {},
            "scale": options.scale,
            **found.to_dict(),
        }
    )


def _show(found: Diagnosis) -> None:
    pairs = []
    for finding in found.findings:
        pairs.append((finding.status, f"{finding.title}: {finding.found}"))
        if finding.status != PASSED:
            pairs += [("", f"it means: {finding.meaning}"), ("", f"what to do: {finding.advice}")]
    show_pairs(pairs)
    counts = found.counts
    show_text()
    show_text(f"{counts[PASSED]} passed, {counts[WARNING]} with a warning, {counts[FAILED_CHECK]} failed")
