"""Consistency of a model, when it is saved or loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crosshead.models.json_document import ModelError
from crosshead.scaling import Scaler

if TYPE_CHECKING:
    from crosshead.models.model import Model


def check_model(model: Model, name: str) -> None:
    """Raise ModelError if shapes, dtypes or values of a model are inconsistent.

    Examples
    --------
    >>> import numpy as np
    >>> from crosshead.models import Model
    >>> check_model(Model(np.eye(2), np.zeros(2), np.array(["no", "yes"]), "softmax"), "the model")
    """
    n_classes = model.classes.shape[0] if model.classes.ndim == 1 else -1
    if model.weight.ndim != 2 or 0 in model.weight.shape or model.weight.shape[0] != n_classes:
        raise ModelError(
            f"{name}: weight has shape {model.weight.shape}, expected (classes, features) for "
            f"classes of shape {model.classes.shape}"
        )
    n_features = model.weight.shape[1]
    if model.bias.shape != (n_classes,):
        raise ModelError(f"{name}: bias has shape {model.bias.shape}, expected ({n_classes},)")
    for what, values in (("weight", model.weight), ("bias", model.bias)):
        if values.dtype.newbyteorder("=") not in (np.float32, np.float64):
            raise ModelError(f"{name}: {what} is {values.dtype}, expected float32 or float64")
        if not np.isfinite(values).all():
            raise ModelError(f"{name}: {what} holds NaN or infinite values")
    if model.classes.dtype.kind not in "iubU" or len(set(model.classes.tolist())) != n_classes:
        raise ModelError(f"{name}: classes must be distinct integers, strings or booleans")
    if model.feature_names is not None and len(model.feature_names) != n_features:
        raise ModelError(f"{name}: {len(model.feature_names)} feature names for {n_features} features")
    if model.temperature is not None and not (0 < model.temperature < float("inf")):
        raise ModelError(f"{name}: the temperature is {model.temperature}; it must be positive and finite")
    _check_scaling(model.scaling, n_features, name)


def _check_scaling(scaling: Scaler, n_features: int, name: str) -> None:
    if scaling.n_features not in (None, n_features):
        raise ModelError(f"{name}: the scaling has {scaling.n_features} features, the weight {n_features}")
    scale_shape = {"none": None, "maxabs": (1,), "standard": (n_features,)}[scaling.kind]
    found = None if scaling.scale is None else scaling.scale.shape
    if found != scale_shape:
        raise ModelError(f"{name}: the scale has shape {found}, expected {scale_shape} for {scaling.kind!r}")
    if scaling.centre is not None and (scaling.kind != "standard" or scaling.centre.shape != (n_features,)):
        raise ModelError(f"{name}: the centre has shape {scaling.centre.shape} for {scaling.kind!r}")
    for values in (scaling.centre, scaling.scale):
        if values is not None and not np.isfinite(values).all():
            raise ModelError(f"{name}: the scaling holds NaN or infinite values")
    if scaling.scale is not None and not (scaling.scale > 0.0).all():
        raise ModelError(f"{name}: the scaling divides by numbers that are not positive")
