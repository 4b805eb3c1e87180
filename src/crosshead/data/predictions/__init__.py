"""Predictions of any tool: probabilities or scores of rows, read from files."""
