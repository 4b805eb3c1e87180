"""The methods, one file each; `solvers/plan.py` says which one runs when."""
