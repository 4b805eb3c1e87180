"""The arithmetic of each loss, step by step; one file a family."""
