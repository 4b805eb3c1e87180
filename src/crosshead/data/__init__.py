"""Readers: anything a person has → features, labels, names."""

from crosshead.data.dataset import Dataset, fingerprint, split, take
from crosshead.data.decoding import ImageForm
from crosshead.data.errors import DataError
from crosshead.data.image_source import ImageBatch, ImageSource
from crosshead.data.load import load
from crosshead.data.open_images import open_images
from crosshead.data.prediction_files import read_predictions
from crosshead.data.predictions import Predictions

__all__ = [
    "DataError",
    "Dataset",
    "ImageBatch",
    "ImageForm",
    "ImageSource",
    "Predictions",
    "fingerprint",
    "load",
    "open_images",
    "read_predictions",
    "split",
    "take",
]
