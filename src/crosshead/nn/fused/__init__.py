"""A linear layer and its loss as one operator: inputs, projection, reduction, gradients."""
