"""Training a network whose last layer is a crosshead head: data, steps, checkpoints, resuming."""
