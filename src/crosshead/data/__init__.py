"""Read data of any supported format into features, labels and names."""

from crosshead.data.dataset import Dataset, fingerprint, split, take
from crosshead.data.errors import DataError
from crosshead.data.images.decoding import ImageForm
from crosshead.data.images.open_images import open_images
from crosshead.data.images.source import ImageBatch, ImageSource
from crosshead.data.load import load
from crosshead.data.predictions.files import read_predictions
from crosshead.data.predictions.predictions import Predictions

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
