"""What an objective's second derivatives are at a point: exactly, over all rows or some, and nearly, to invert them."""
