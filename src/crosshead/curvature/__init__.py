"""Models of the Hessian of an objective: exact, over all rows or some, and approximate, for preconditioning."""
