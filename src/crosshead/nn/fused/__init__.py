"""A linear layer and its loss as one operator.

A call goes from a function of `crosshead.nn.losses` through `inputs` (arguments to rows, targets and weights of rows),
`reduced_loss` (which operator, and the reduction) and `operators` (what PyTorch sees, with its gradient) to a backend.
"""
