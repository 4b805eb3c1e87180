"""Verification, whether two samples have the same class: pairs of embeddings, ROC, accuracy over folds."""
