"""Comparing models on the same rows: paired differences, McNemar's test."""
