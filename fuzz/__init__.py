"""Fuzzing: honest files of every kind, changed at random, read by everything that reads them; see README.md."""
