"""What `crosshead export` does once its options are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crosshead.atomic_files import atomic_write
from crosshead.cli.embedding import backbone_of
from crosshead.cli.errors import DONE, FAILED, UsageError, tell
from crosshead.cli.measures import Computing, has_probabilities, probabilities_of, scores_of
from crosshead.cli.options.images import OwnImages
from crosshead.cli.output import show_json, show_pairs
from crosshead.cli.progress import Monitor
from crosshead.cli.sources import load_for_model
from crosshead.cli.writers import check_output
from crosshead.data import open_images
from crosshead.data.dataset import Array
from crosshead.data.formats.feature_files import KIND
from crosshead.data.images.decoding import Pixels
from crosshead.data.images.open_images import holds_images
from crosshead.export import Check, build_onnx, check_export
from crosshead.export.check import Runner
from crosshead.export.graph import Exported
from crosshead.models import Model

N_RANDOM, MOST_REAL = 64, 256


@dataclass(frozen=True)
class Request:
    """The options of one `crosshead export`."""

    model: str
    output: str
    backbone: str | None
    head_only: bool
    check: str | None
    dtype: str
    opset: int | None
    seed: int
    as_json: bool


def run(request: Request) -> int:
    """Build, check, write and show; returns the exit code."""
    path = check_output(request.output, (".onnx",), "FILE.onnx")
    model = Model.load(request.model)
    with Monitor() as monitor:
        monitor.stage("building the graph")
        backbone = _backbone(request, model)
        exported = build_onnx(model, backbone, dtype=request.dtype, opset=request.opset)
        monitor.stage("checking the graph")
        runner = Runner(exported)
        random = _check_random(request, model, backbone, exported, runner)
        real = None if request.check is None else _check_real(request, model, backbone, exported, runner)
        whole = random if real is None else random + real
        if whole.passed:
            with atomic_write(path) as temporary:
                temporary.write_bytes(exported.content)
    if not whole.passed:
        advice = "; try --dtype float64" if backbone is None and request.dtype == "float32" else ""
        tell("error", f"{request.output}: not written: onnxruntime predicts otherwise ({_in_words(whole)}){advice}")
        return FAILED
    _show(request, model, exported, random, real)
    return DONE


def _backbone(request: Request, model: Model) -> Any:
    if model.encoding.get("kind") != KIND:
        if request.backbone is not None or request.head_only:
            option = "--backbone" if request.backbone is not None else "--head-only"
            raise UsageError(f"{option}: the model was trained without a backbone")
        return None
    return None if request.head_only else backbone_of(model.encoding, request.backbone, model.network)


def _check_random(request: Request, model: Model, backbone: Any, exported: Exported, runner: Runner) -> Check:
    generator = np.random.default_rng(request.seed)
    if backbone is not None:
        shape = (N_RANDOM, *backbone.preprocessing.form.shape)
        return _check_images(model, backbone, generator.integers(0, 256, shape, dtype=np.uint8), runner)
    features = _random_features(model, generator)
    return _check_features(model, features.astype(exported.dtype), runner, request.dtype)


def _random_features(model: Model, generator: np.random.Generator) -> Array:
    """Features such as the model may have seen: about the centre, as wide as the scale."""
    shape = (N_RANDOM, model.weight.shape[1])
    scaling = model.scaling
    if scaling.kind == "standard":
        assert scaling.scale is not None  # `check_model` has looked
        centre = 0.0 if scaling.centre is None else scaling.centre
        return np.asarray(generator.normal(size=shape) * scaling.scale + centre)
    if scaling.kind == "maxabs":
        assert scaling.scale is not None
        return np.asarray(generator.uniform(0.0, scaling.scale[0], shape))
    return np.asarray(generator.normal(size=shape))


def _check_real(request: Request, model: Model, backbone: Any, exported: Exported, runner: Runner) -> Check:
    assert request.check is not None
    if backbone is not None:
        if not holds_images(request.check):
            raise UsageError(f"--check {request.check}: the graph takes images; give some, or export with --head-only")
        source = open_images(request.check)
        chosen = source.take(np.arange(min(len(source), MOST_REAL)))
        batches = chosen.batches(backbone.preprocessing.form, workers=0)
        checks = [_check_images(model, backbone, batch.pixels, runner) for batch in batches]
        return sum(checks[1:], start=checks[0])
    dataset = load_for_model(
        request.check,
        model,
        target=None,
        ignore=(),
        target_required=False,
        test_rows=False,
        images=OwnImages(backbone=request.backbone),
    )
    rows = dataset.features[:MOST_REAL]
    dense = rows.toarray() if hasattr(rows, "toarray") else np.asarray(rows)
    return _check_features(model, dense.astype(exported.dtype), runner, request.dtype)


def _check_images(model: Model, backbone: Any, pixels: Pixels, runner: Runner) -> Check:
    scores, probabilities = _ours(model, backbone.embed(pixels))
    return check_export(runner, backbone.input_of(pixels), scores, probabilities, "float32")


def _check_features(model: Model, features: Array, runner: Runner, dtype: str) -> Check:
    scores, probabilities = _ours(model, features.astype(np.float64))
    shape = model.encoding.get("shape")
    inputs = features if shape is None else features.reshape(len(features), *shape)
    return check_export(runner, inputs, scores, probabilities, dtype)


def _ours(model: Model, features: Array) -> tuple[Array, Array | None]:
    scores = np.concatenate([block for _, block in scores_of(model, features, Computing())])
    return scores, probabilities_of(model, scores) if has_probabilities(model) else None


def _in_words(check: Check) -> str:
    probabilities = "" if check.probabilities is None else f"probabilities by {check.probabilities:.1e}, "
    if not check.different:
        same = "same classes"
    else:
        same = f"{check.different} other classes" + (f", {check.ties} of them ties" if check.ties else "")
    return f"{check.n_inputs}: {probabilities}scores by {check.scores:.1e} of the largest, {same}"


def _show(request: Request, model: Model, exported: Exported, random: Check, real: Check | None) -> None:
    graph = exported.proto.graph
    opset = next(one.version for one in exported.proto.opset_import if one.domain in ("", "ai.onnx"))
    shapes = {one.name: _shape(one) for one in (*graph.input, *graph.output)}
    outputs = [one.name for one in graph.output]
    if request.as_json:
        show_json(
            {
                "model": request.model,
                "output": request.output,
                "input": {exported.input: shapes[exported.input]},
                "outputs": {name: shapes[name] for name in outputs},
                "classes": model.classes,
                "opset": opset,
                "random": vars(random),
                "real": None if real is None else vars(real),
            }
        )
        return
    show_pairs(
        [
            ("input", f"{exported.input} {_times(shapes[exported.input])}"),
            ("outputs", ", ".join(f"{name} {_times(shapes[name])}" for name in outputs)),
            ("opset", str(opset)),
            ("random inputs differ", _in_words(random)),
            *([] if real is None else [("real inputs differ", _in_words(real))]),
            ("written to", request.output),
        ]
    )


def _shape(info: Any) -> list[int | str]:
    return [one.dim_value or one.dim_param or "?" for one in info.type.tensor_type.shape.dim]


def _times(shape: list[int | str]) -> str:
    return "×".join(map(str, shape))
