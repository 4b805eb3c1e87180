"""
Class weights for imbalanced classes
====================================

Where one class has twenty times the rows of another, the mean loss cares twenty times as much about it.
``class_weight="balanced"`` gives every class the same total weight, and moves the boundary.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from crosshead import LinearClassifier
from crosshead.report import DecisionRegionsDisplay

counts = [400, 20]
X, y = make_blobs(counts, centers=[(0, 0), (2.2, 1.2)], cluster_std=1.1, random_state=1)
X_test, y_test = make_blobs([2000, 2000], centers=[(0, 0), (2.2, 1.2)], cluster_std=1.1, random_state=2)

figure, axes = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
for ax, class_weight in zip(axes, [None, "balanced"], strict=True):
    model = LinearClassifier(alpha=1e-3, class_weight=class_weight).fit(X, y)
    DecisionRegionsDisplay.from_estimator(model, X, y, resolution=120, ax=ax)
    found = model.predict(X_test)
    recall = [np.mean(found[y_test == label] == label) for label in (0, 1)]
    ax.set_title(f"class_weight={class_weight!r}\nrecall {recall[0]:.0%} and {recall[1]:.0%}", fontsize=10)
    print(f"{class_weight!s:9} recall of class 0: {recall[0]:.1%}, of class 1: {recall[1]:.1%}")

# %%
# Neither is right by itself. Without weights the probabilities are those of data with the training data's class
# frequencies; with them, of data in which all classes are equally frequent. See :doc:`/how-to/imbalance`.
