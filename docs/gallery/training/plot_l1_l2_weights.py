"""
L1 against L2 weights
=====================

L2 prefers many small weights, L1 few large ones: its optimum has weights that are exactly zero. ``l1_ratio`` goes
from one to the other.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier
from crosshead.report import ClassTemplateDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)

models = {}
for name, l1_ratio in [("L2", 0.0), ("elastic net", 0.5), ("L1", 1.0)]:
    model = LinearClassifier(alpha=3e-3, l1_ratio=l1_ratio).fit(X_train, y_train)
    models[name] = model
    share = np.mean(model.coef_ != 0)
    error = 1 - model.score(X_test, y_test)
    print(f"{name:12} {share:6.1%} of the weights are not zero, error {error:.1%}, {model.status_}")

# %%
# Templates of the first five classes, L2 above and L1 below. Pixels that are always 0 have weight 0 in both.

for name in ("L2", "L1"):
    display = ClassTemplateDisplay.from_estimator(models[name], shape=(8, 8), classes=[0, 1, 2, 3, 4])
    display.figure_.suptitle(name)

# %%
# All weights, sorted by size:

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for (name, model), colour in zip(models.items(), ["#0072b2", "#009e73", "#d55e00"], strict=True):
    ax.plot(np.sort(np.abs(model.coef_).ravel())[::-1], color=colour, label=name)
ax.set(xlabel="weight, from the largest", ylabel="|w|", xlim=(0, model.coef_.size))
ax.legend(frameon=False)
