"""Fuzzing: honest files of every kind, changed at random, read by everything that reads them; see README.md."""

import os

# Before NumPy is imported: a process that is forked should have one thread.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ARROW_IO_THREADS"):
    os.environ.setdefault(_name, "1")
