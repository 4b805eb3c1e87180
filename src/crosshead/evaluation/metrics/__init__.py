"""Metrics of a classifier: losses of rows, errors, the confusion matrix."""
