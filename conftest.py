"""Doctests of crosshead.nn are collected only where PyTorch is installed: everything else is tested without it."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["src/crosshead/nn/*"]
