"""The functions of `crosshead.nn.functional`, one file a family, and the margins that they use."""
