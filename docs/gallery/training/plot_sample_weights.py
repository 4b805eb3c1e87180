"""
Sample weights
==============

A sample weight multiplies a row's loss. A weight of k is the same as the row k times, and a weight of 0 the same as
no row, so that one array of weights can stand for repeated measurements, for trust in labels or for held-out rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from crosshead import LinearClassifier

X, y = make_blobs(120, centers=[(-1.2, 0), (1.2, 0)], cluster_std=1.0, random_state=3)
outliers = np.array([[2.5, 2.0], [3.0, 1.5], [2.8, 2.4], [3.2, 2.1]])  # labelled 0, far among the others
X, y = np.vstack([X, outliers]), np.concatenate([y, np.zeros(4, dtype=int)])

figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
ax.scatter(*X.T, c=np.where(y == 0, "#0072b2", "#d55e00"), s=14)
across = np.array([-4.0, 4.0])
for trust, style in [(1.0, "-"), (0.1, "--"), (10.0, ":")]:
    weights = np.ones(len(y))
    weights[-4:] = trust
    model = LinearClassifier(alpha=1e-2).fit(X, y, sample_weight=weights)
    w, b = model.coef_[0] - model.coef_[1], model.intercept_[0] - model.intercept_[1]
    ax.plot(across, -(w[0] * across + b) / w[1], style, color="0.2", label=f"weight {trust:g} for the four points")
ax.set(xlim=(-4, 4), ylim=(-3.5, 3.5))
ax.legend(frameon=False, fontsize=8, loc="lower left")

# %%
# The same optimum from a weight of 3 and from three copies:

weights = np.ones(len(y))
weights[-4:] = 3
weighted = LinearClassifier(alpha=1e-2, tol=1e-10).fit(X, y, sample_weight=weights)
times = weights.astype(int)
repeated = LinearClassifier(alpha=1e-2, tol=1e-10).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
print(f"largest difference of the weights: {np.abs(weighted.coef_ - repeated.coef_).max():.0e}")
