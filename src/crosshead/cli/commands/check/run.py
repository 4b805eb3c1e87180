"""What `crosshead check` does once its options are read."""

from __future__ import annotations

from typing import Any

from crosshead.cli.commands.check import CheckOptions
from crosshead.cli.engine import check_engine
from crosshead.cli.errors import DONE, FAILED
from crosshead.cli.labels import class_indices, training_classes
from crosshead.cli.measures import fitted_scaler
from crosshead.cli.options.loss import chosen_loss
from crosshead.cli.output import show_json, show_pairs, show_text
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import show_notes
from crosshead.data import load
from crosshead.diagnostics.data import data_findings
from crosshead.diagnostics.finding import FAILED_CHECK, PASSED, WARNING, Finding
from crosshead.diagnostics.learning import Learning, learning_findings
from crosshead.penalties import ElasticNet


def run(options: CheckOptions) -> int:
    """Check and show; exit code 1 where a check failed."""
    check_engine(options.engine)
    chosen_loss(options)
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
        classes = training_classes(dataset)
        indices = class_indices(dataset, classes)
        features = fitted_scaler(options.scale, dataset.features, options.source).apply(dataset.features)
        monitor.stage("checking features and labels")
        findings = data_findings(dataset, features, classes, indices)
        monitor.stage("checking loss and gradient, and learning a few rows by heart")
        learning = Learning(
            features=features,
            indices=indices,
            n_classes=len(classes),
            loss=chosen_loss(options),
            penalty=ElasticNet(options.alpha, options.l1_ratio),
            intercept=options.intercept,
            engine=options.engine,
            threads=options.threads,
            seed=options.seed,
        )
        findings = [*learning_findings(learning), *findings]
    if options.as_json:
        show_json(_document(options, features.shape, len(classes), findings))
    else:
        _show(findings)
    return FAILED if any(finding.status == FAILED_CHECK for finding in findings) else DONE


def _document(options: CheckOptions, shape: tuple[int, ...], classes: int, findings: list[Finding]) -> dict[str, Any]:
    return {
        "source": options.source,
        "rows": shape[0],
        "features": shape[1],
        "classes": classes,
        "loss": options.loss,
        "loss_parameters": options.loss_parameter or {},
        "scale": options.scale,
        **_counts(findings),
        "checks": [finding.to_dict() for finding in findings],
    }


def _counts(findings: list[Finding]) -> dict[str, int]:
    statuses = [finding.status for finding in findings]
    return {status: statuses.count(status) for status in (PASSED, WARNING, FAILED_CHECK)}


def _show(findings: list[Finding]) -> None:
    pairs = []
    for finding in findings:
        pairs.append((finding.status, f"{finding.title}: {finding.found}"))
        if finding.status != PASSED:
            pairs += [("", f"it means: {finding.meaning}"), ("", f"what to do: {finding.advice}")]
    show_pairs(pairs)
    counts = _counts(findings)
    show_text()
    show_text(f"{counts[PASSED]} passed, {counts[WARNING]} with a warning, {counts[FAILED_CHECK]} failed")
