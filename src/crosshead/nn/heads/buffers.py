"""The buffers of a head: data that is given, such as class weights."""

from __future__ import annotations

import torch


def data_device(device: torch.device | str | None) -> torch.device | str | None:
    """The device of a head's buffers: never "meta", because parameters can be initialised again but data cannot."""
    return None if device is not None and torch.device(device).type == "meta" else device
