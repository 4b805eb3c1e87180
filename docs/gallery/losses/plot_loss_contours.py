"""
Contours of the multiclass losses
=================================

With three classes a loss depends on two differences: how much each wrong class's score is above the score of the true
class. The contours show how the losses treat two wrong classes at a time.
"""

import matplotlib.pyplot as plt
import numpy as np

from crosshead import get_loss

grid = np.linspace(-3, 3, 121)
first, second = np.meshgrid(grid, grid)
scores = np.stack([np.zeros_like(first), first, second], axis=-1).reshape(-1, 3)  # class 0 is the true one
target = np.zeros(len(scores), dtype=int)

figure, axes = plt.subplots(2, 2, figsize=(8, 7.2), layout="constrained", sharex=True, sharey=True)
for ax, name in zip(axes.flat, ["softmax", "hinge", "crammer_singer", "squared_hinge"], strict=True):
    values = get_loss(name).value(scores, target).reshape(first.shape)
    contours = ax.contour(grid, grid, values, levels=[0.1, 0.5, 1, 2, 3, 4, 6, 9, 13], cmap="viridis")
    ax.clabel(contours, fontsize=8)
    ax.plot(0, 0, "k.")
    ax.set_title(name)
    ax.set_aspect("equal")
figure.supxlabel("score of the first wrong class, minus that of the true class")
figure.supylabel("score of the second wrong class, minus that of the true class")

# %%
# The point marks equal scores. There softmax costs ln 3 = 1.0986 and the Weston–Watkins hinge 2, one for each wrong
# class. Crammer and Singer count only the worse of the two, so that their contours are corners.

zero = np.zeros((1, 3))
for name in ["softmax", "hinge", "crammer_singer", "squared_hinge"]:
    print(f"{name:15} {get_loss(name).value(zero, np.array([0]))[0]:.4f}")
