from __future__ import annotations

import dataclasses

import pytest

from crosshead.losses import LOSSES, Hinge, Softmax, get_loss


def test_losses_are_built_by_name() -> None:
    assert get_loss("softmax", label_smoothing=0.1) == Softmax(label_smoothing=0.1)
    assert [get_loss(name).name for name in LOSSES] == list(LOSSES)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="unknown loss 'softmaxx'") as caught:
        get_loss("softmaxx")
    assert all(name in str(caught.value) for name in LOSSES)
    assert "\n" not in str(caught.value)


def test_an_unknown_parameter_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'hinge' has no parameter 'width'; it takes margin, smoothing"):
        get_loss("hinge", width=1.0)
    with pytest.raises(ValueError, match="it takes no parameters"):
        get_loss("binary", label_smoothing=0.1)


def test_losses_are_immutable_values() -> None:
    loss = Hinge()
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.margin = 2.0  # type: ignore[misc]
    assert len({Hinge(), Hinge(1.0, 0.0), Hinge(2.0)}) == 2
