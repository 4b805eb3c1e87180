"""
The initial-loss check
======================

Before training all weights are zero or tiny, all scores are about equal, and nothing is known. Softmax then costs ln
C and the Weston–Watkins hinge C − 1, whatever the data. A first loss that is not there points to a mistake: labels
that do not belong to the rows, features that were not scaled, a loss that is a sum where a mean was meant.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from crosshead import get_loss

classes = np.unique(np.geomspace(2, 1000, 20).astype(int))
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
for name, formula, colour in [("softmax", np.log, "#0072b2"), ("hinge", lambda c: c - 1.0, "#d55e00")]:
    computed = [get_loss(name).value(np.zeros((1, c)), np.array([0]))[0] for c in classes]
    ax.loglog(classes, computed, "o", color=colour, label=f"{name} at equal scores")
    ax.loglog(classes, formula(classes), color=colour, linewidth=1)
    assert np.allclose(computed, formula(classes))
ax.set(xlabel="classes C", ylabel="loss")
ax.legend(frameon=False)

# %%
# Features that are too large
# ---------------------------
#
# With small random weights the loss should stay near ln 10 = 2.3026 on the ten digits. It does for pixels from 0 to
# 1; with features a thousand times as large the random scores are far apart, and training begins by unlearning them.
# ``crosshead check`` makes this test, see :doc:`/how-to/check`.

X, y = load_digits(return_X_y=True)
weights = 1e-3 * np.random.default_rng(0).standard_normal((10, X.shape[1]))
factors = np.geomspace(1e-1, 1e4, 26)
found = [get_loss("softmax").value(factor * (X / 16) @ weights.T, y).mean() for factor in factors]

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.loglog(factors, found, color="#0072b2", label="found")
ax.axhline(np.log(10), color="0.6", linestyle="--", label="ln 10")
ax.set(xlabel="largest feature", ylabel="first loss (nats)")
ax.legend(frameon=False)
