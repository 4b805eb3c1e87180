"""A trained model as a folder: weights in safetensors, everything else in JSON, a card to read. Nothing is pickled."""

from crosshead.models.folder import Model, ModelError, check_model

__all__ = ["Model", "ModelError", "check_model"]
