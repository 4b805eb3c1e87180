"""Plots as scikit-learn displays, one file each."""
