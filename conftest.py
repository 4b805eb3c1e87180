"""Doctests of crosshead.nn are collected only where PyTorch is installed: everything else works and is tested without."""

from importlib.util import find_spec

collect_ignore_glob = [] if find_spec("torch") else ["src/crosshead/nn/*"]
