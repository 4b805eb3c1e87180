"""Predictions of any tool: probabilities or scores, read from files."""
