"""The stages of a model."""

from __future__ import annotations

import numpy as np
import pytest

from crosshead.models import Model, ModelError, describe
from crosshead.scaling import Scaler


def made(**others) -> Model:
    return Model(np.zeros((3, 4)), np.zeros(3), np.array(["a", "b", "c"]), "hinge", **others)


def test_scaling_is_a_stage():
    found = describe(made(scaling=Scaler("maxabs", 4, None, np.array([2.0]))))
    assert [stage.name for stage in found.stages] == ["features", "scaling, maxabs", "last layer, hinge"]
    assert (found.parameters, found.operations) == (15, 16)
    assert found.to_dict()["classes"] == ["a", "b", "c"]


def test_pixels_are_flattened():
    found = describe(made(encoding={"kind": "images", "shape": [1, 2, 2]}))
    assert found.flow == "1×2×2 → 4 → 3"


def backbone(preprocessing) -> Model:
    known = {"kind": "onnx", "name": "net.onnx", "output": "pool", "preprocessing": preprocessing}
    return made(encoding={"kind": "embedding", "backbone": known})


def test_what_is_inside_another_network_is_unknown():
    found = describe(backbone({"size": [8, 6], "colours": "grey"}))
    assert [(stage.name, stage.output) for stage in found.stages[:2]] == [
        ("pixels", (1, 8, 6)),
        ("backbone net.onnx, output pool", (4,)),
    ]
    assert (found.parameters, found.operations) == (None, None)


@pytest.mark.parametrize("preprocessing", [{}, {"size": 8, "colours": "blue"}, {"size": "large"}, {"size": [8]}])
def test_preprocessing_that_cannot_be_read(preprocessing):
    with pytest.raises(ModelError, match="the pre-processing cannot be read"):
        describe(backbone(preprocessing))


def test_bytes_that_are_no_network():
    pytest.importorskip("torch")
    with pytest.raises(ModelError, match="the model's network: not a network"):
        describe(made(network=b"nonsense"))
