"""What `crosshead export` does once its options are read."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.atomic_files import atomic_write
from crosshead.cli.backbones import backbone_of
from crosshead.cli.commands.export import ExportOptions
from crosshead.cli.commands.export.show import in_words, show
from crosshead.cli.destinations import check_output
from crosshead.cli.errors import DONE, FAILED, UsageError, tell
from crosshead.cli.options.images import OwnImages
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.data import open_images
from crosshead.data.formats.feature_files import KIND
from crosshead.data.images.open_images import holds_images
from crosshead.export import Check, build_onnx, verify_export
from crosshead.export.check import Runner
from crosshead.export.graph import Exported
from crosshead.models import Model

MOST_REAL = 256


def run(options: ExportOptions) -> int:
    """Build, check, write and show; returns the exit code."""
    path = check_output(options.output, (".onnx",), "FILE.onnx")
    model = Model.load(options.model)
    with Monitor() as monitor:
        monitor.stage("building the graph")
        backbone = _backbone(options, model)
        exported = build_onnx(model, backbone, dtype=options.dtype, opset=options.opset)
        monitor.stage("checking the graph")
        runner = Runner(exported)
        random = verify_export(exported, model, backbone, runner=runner, seed=options.seed)
        real = None if options.check is None else _check_real(options, model, backbone, exported, runner)
        whole = random if real is None else random + real
        if whole.passed:
            with atomic_write(path) as temporary:
                temporary.write_bytes(exported.content)
    if not whole.passed:
        advice = "; try --dtype float64" if backbone is None and options.dtype == "float32" else ""
        tell("error", f"{options.output}: not written: onnxruntime predicts otherwise ({in_words(whole)}){advice}")
        return FAILED
    show(options, model, exported, random, real)
    return DONE


def _backbone(options: ExportOptions, model: Model) -> Any:
    if model.encoding.get("kind") != KIND:
        if options.backbone is not None or options.head_only:
            option = "--backbone" if options.backbone is not None else "--head-only"
            raise UsageError(f"{option}: the model was trained without a backbone")
        return None
    return None if options.head_only else backbone_of(model.encoding, options.backbone, model.network)


def _check_real(options: ExportOptions, model: Model, backbone: Any, exported: Exported, runner: Runner) -> Check:
    assert options.check is not None
    if backbone is not None:
        if not holds_images(options.check):
            raise UsageError(f"--check {options.check}: the graph takes images; give some, or export with --head-only")
        source = open_images(options.check)
        chosen = source.take(np.arange(min(len(source), MOST_REAL)))
        batches = chosen.batches(backbone.preprocessing.form, workers=0)
        checks = [verify_export(exported, model, backbone, batch.pixels, runner=runner) for batch in batches]
        return sum(checks[1:], start=checks[0])
    dataset = load_for_model(
        options.check,
        model,
        target=None,
        ignore=(),
        target_required=False,
        test_rows=False,
        images=OwnImages(backbone=options.backbone),
    )
    return verify_export(exported, model, None, dataset.features[:MOST_REAL], runner=runner)
