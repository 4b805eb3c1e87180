"""A trained model as a folder: weights in safetensors, everything else in JSON, a card to read. Nothing is pickled."""

from crosshead.models.checks import check_model
from crosshead.models.document import ModelError
from crosshead.models.folder import Model

__all__ = ["Model", "ModelError", "check_model"]
