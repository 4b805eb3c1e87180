"""What can be wrong with data, or with learning on them, before any long training."""
