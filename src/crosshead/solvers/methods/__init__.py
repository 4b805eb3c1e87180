"""The methods, one file each; `crosshead.solvers.plan` says which one is used when."""
