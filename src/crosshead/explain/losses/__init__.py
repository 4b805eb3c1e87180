"""The steps of each loss, one file per family."""
