"""Checks of data, and of learning on them, before a long training."""
