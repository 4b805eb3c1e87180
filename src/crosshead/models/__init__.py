"""A trained model as a folder: weights in safetensors, everything else in JSON, a card to read. Nothing is pickled."""

from crosshead.models.consistency import check_model
from crosshead.models.document import ModelError
from crosshead.models.model import Model

__all__ = ["Model", "ModelError", "check_model"]
