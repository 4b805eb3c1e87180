"""Explanations as text and as HTML."""
