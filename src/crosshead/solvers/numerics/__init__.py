"""Numerical parts that methods share."""
