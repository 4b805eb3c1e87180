"""Readers: anything a person has → features, labels, names."""

from crosshead.data.dataset import Dataset, fingerprint, split, take
from crosshead.data.errors import DataError
from crosshead.data.load import load
from crosshead.data.prediction_files import read_predictions
from crosshead.data.predictions import Predictions

__all__ = ["DataError", "Dataset", "Predictions", "fingerprint", "load", "read_predictions", "split", "take"]
