"""Verification: do two samples show the same class? Pairs of embeddings, ROC, accuracy over folds."""
