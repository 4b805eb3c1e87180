"""
Top losses
==========

The samples that cost most are the first to look at: they are hard, unusual, or labelled wrongly.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier, top_losses

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)
model = LinearClassifier(alpha=1e-3).fit(X_train, y_train)
top = top_losses(model.decision_function(X_test), y_test, 12)

figure, axes = plt.subplots(2, 6, figsize=(10, 4.2), layout="constrained")
for ax, place in zip(axes.flat, range(len(top)), strict=True):
    ax.imshow(X_test[top.rows[place]].reshape(8, 8), cmap="gray_r")
    ax.set_title(f"{top.target[place]}, predicted {top.predicted[place]}\n{top.loss[place]:.2f} nats", fontsize=9)
    ax.axis("off")

print(f"these {len(top)} of {top.n_rows} samples make up {top.share.sum():.0%} of the loss")
