"""Optimizers for gradients that touch some rows of a weight only."""
