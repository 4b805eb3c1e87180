"""Whether an exported graph may be used in a model's place: run by onnxruntime, and compared with the model itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from crosshead.data.dataset import Array
from crosshead.export.check import Check, Runner, check_export
from crosshead.export.graph import Exported
from crosshead.models import Model, has_probabilities, probabilities_of, score

N_RANDOM = 64


def verify_export(
    exported: Exported,
    model: Model,
    backbone: Any = None,
    inputs: Any = None,
    *,
    runner: Runner | None = None,
    seed: int = 0,
) -> Check:
    """Compare the scores, probabilities and classes of an exported graph with those of its model, on some inputs.

    Parameters
    ----------
    exported, model, backbone
        What `build_onnx` made of the model and its backbone, if the graph has one.
    inputs : array, optional
        Pixels (n, height, width, channels) of 0…255 with a backbone, else features (n, D), not scaled; by default 64
        random ones of ``seed``, such as the model may have seen.
    runner : Runner, optional
        The graph as it is loaded already, where several inputs are compared.

    Raises
    ------
    DataError
        Where onnxruntime is missing or cannot run the graph.

    Examples
    --------
    >>> from crosshead.export import build_onnx
    >>> model = Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax")
    >>> verify_export(build_onnx(model), model).passed
    True
    """
    runner = Runner(exported) if runner is None else runner
    if inputs is None:
        inputs = _random_inputs(model, backbone, seed)
    if backbone is not None:
        pixels = np.asarray(inputs)
        scores, probabilities = _of_model(model, backbone.embed(pixels))
        return check_export(runner, backbone.input_of(pixels), scores, probabilities, "float32")
    features = inputs.toarray() if hasattr(inputs, "toarray") else np.asarray(inputs)
    features = features.astype(exported.dtype)
    scores, probabilities = _of_model(model, features.astype(np.float64))
    shape = model.encoding.get("shape")
    given = features if shape is None else features.reshape(len(features), *shape)
    return check_export(runner, given, scores, probabilities, exported.dtype.name)


def _of_model(model: Model, features: Array) -> tuple[Array, Array | None]:
    scores = score(model, features)
    return scores, probabilities_of(model, scores) if has_probabilities(model) else None


def _random_inputs(model: Model, backbone: Any, seed: int) -> Array:
    """Pixels for a backbone; else features such as the model may have seen: about the centre, as wide as the scale."""
    generator = np.random.default_rng(seed)
    if backbone is not None:
        return generator.integers(0, 256, (N_RANDOM, *backbone.preprocessing.form.shape), dtype=np.uint8)
    shape, scaling = (N_RANDOM, model.weight.shape[1]), model.scaling
    if scaling.scale is None:
        return np.asarray(generator.normal(size=shape))
    if scaling.kind == "maxabs":
        return np.asarray(generator.uniform(0.0, scaling.scale[0], shape))
    return np.asarray(
        generator.normal(size=shape) * scaling.scale + (0.0 if scaling.centre is None else scaling.centre)
    )
