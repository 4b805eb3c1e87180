"""
Six losses on the same points
=============================

Each loss is trained to a certified optimum on the same 2-D points, so that differences between the pictures are those
of the losses and not of how long a solver ran. Lines show where the score of a class is zero.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_blobs

from crosshead import LinearClassifier
from crosshead.losses import LOSSES
from crosshead.report import DecisionRegionsDisplay

X, y = make_blobs(240, centers=[(-3, -0.4), (3, -0.4), (0, 0.4)], cluster_std=0.8, random_state=4)

figure, axes = plt.subplots(2, 3, figsize=(11, 7), layout="constrained")
for ax, loss in zip(axes.flat, LOSSES, strict=True):
    model = LinearClassifier(loss, alpha=1e-3).fit(X, y)
    DecisionRegionsDisplay.from_estimator(model, X, y, resolution=120, ax=ax)
    ax.set_title(f"{loss}: {1 - model.score(X, y):.1%} wrong", fontsize=10)
    if (legend := ax.get_legend()) is not None:
        legend.remove()
    print(f"{loss:15} {model.status_}, error {1 - model.score(X, y):.1%}")

# %%
# The third class lies between the two others. ``binary`` and ``squared_error`` ask each class's score to be high on
# its own samples and low on all others, and no direction does that for the class in the middle. The other losses only
# compare scores: the middle class wins where both others are low.
