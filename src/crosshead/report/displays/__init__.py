"""Plots in the style of scikit-learn displays, one module each."""
