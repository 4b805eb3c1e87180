"""
The certified gap over passes
=============================

While a fit minimises the objective F it also computes a number D that F cannot go below. The relative gap (F − D)/F
falls with the passes over the data, and where it is at most ``tol`` the fit is certified.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from crosshead import LinearClassifier
from crosshead.report import LossCurveDisplay

X, y = load_digits(return_X_y=True)
X = X / 16
model = LinearClassifier(alpha=1e-3, tol=1e-6).fit(X, y)
display = LossCurveDisplay.from_estimator(model)
print(model.message_)

# %%
# A bound, and what it bounds
# ---------------------------
#
# How far F really is from its minimum F* can be seen afterwards, from a fit to a much smaller gap. The bound is above
# it at every pass, without having known F*.

best = LinearClassifier(alpha=1e-3, tol=1e-11).fit(X, y)
passes = [step.passes for step in model.history_]
gap = np.array([step.gap for step in model.history_])
true = np.array([(step.objective - best.objective_) / step.objective for step in model.history_])

figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
ax.semilogy(passes, np.where(np.isfinite(gap), gap, np.nan), "o-", color="#0072b2", label="certified gap (F − D)/|F|")
ax.semilogy(passes, np.maximum(true, 1e-12), "s-", color="#d55e00", label="true suboptimality (F − F*)/|F|")
ax.axhline(model.tol, color="0.6", linestyle="--", label="tol")
ax.set(xlabel="passes over the data", ylabel="relative to the objective")
ax.legend(frameon=False)
print(f"the bound held at every pass: {bool(np.all(true <= gap + 1e-9))}")
