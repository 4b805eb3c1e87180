"""Trained models as folders: weights in safetensors, everything else in JSON, and a model card, without pickle."""

from crosshead.models.consistency import check_model
from crosshead.models.document import ModelError
from crosshead.models.model import Model

__all__ = ["Model", "ModelError", "check_model"]
