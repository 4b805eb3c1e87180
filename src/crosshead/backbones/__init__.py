"""Backbones, networks without their last layer, and the features that they compute from images."""

from crosshead.backbones.embedding import Embedded, Embedding, embed, embed_cached, embed_to_file
from crosshead.backbones.loading import find_backbone, load_backbone
from crosshead.backbones.preprocessing import Preprocessing
from crosshead.backbones.protocol import Backbone

__all__ = [
    "Backbone",
    "Embedded",
    "Embedding",
    "Preprocessing",
    "embed",
    "embed_cached",
    "embed_to_file",
    "find_backbone",
    "load_backbone",
]
