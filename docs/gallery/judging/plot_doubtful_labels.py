"""
Labels to doubt
===============

Here 5 % of the labels are made wrong on purpose. ``doubtful_labels`` compares the labels with what models of other
rows predict for them (confident learning), and finds most of the wrong ones.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from crosshead import doubtful_labels
from crosshead.linear import out_of_fold_probabilities

X, y = load_digits(return_X_y=True)
X = X / 16
chance = np.random.default_rng(0)
wrong = np.sort(chance.choice(len(y), size=len(y) // 20, replace=False))
given = y.copy()
given[wrong] = (y[wrong] + chance.integers(1, 10, size=len(wrong))) % 10

probabilities, classes = out_of_fold_probabilities(X, given, cv=5, alpha=1e-3)
found = doubtful_labels(probabilities, given)
hits = np.isin(found.rows, wrong)
print(f"{len(wrong)} labels were made wrong; {len(found.rows)} are doubted, of which {hits.sum()} are among them")

# %%
# The first twelve: the label that was given, and the one that is suggested.

figure, axes = plt.subplots(2, 6, figsize=(10, 4.2), layout="constrained")
for ax, row, label, better in zip(axes.flat, found.rows, found.given, found.suggested, strict=False):
    ax.imshow(X[row].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"given {label}, suggested {better}", fontsize=9)
    ax.axis("off")
