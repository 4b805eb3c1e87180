"""Backbones: networks without their last layer, and the features they make of images."""

from crosshead.backbones.embedding import Embedded, Embedding, embed, embed_cached, embed_to_file
from crosshead.backbones.loading import backbone_again, load_backbone
from crosshead.backbones.preprocessing import Preprocessing
from crosshead.backbones.protocol import Backbone

__all__ = [
    "Backbone",
    "Embedded",
    "Embedding",
    "Preprocessing",
    "backbone_again",
    "embed",
    "embed_cached",
    "embed_to_file",
    "load_backbone",
]
