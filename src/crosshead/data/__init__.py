"""Readers: anything a person has → features, labels, names."""

from crosshead.data.dataset import Dataset, fingerprint, split, take
from crosshead.data.errors import DataError
from crosshead.data.load import load
from crosshead.data.predictions import Predictions

__all__ = ["DataError", "Dataset", "Predictions", "fingerprint", "load", "split", "take"]
