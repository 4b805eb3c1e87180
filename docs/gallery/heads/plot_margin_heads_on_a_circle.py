"""
Margin heads on a circle
========================

A small network learns embeddings of two numbers, which a margin head normalises: they lie on a circle. With a margin
the samples of a class are drawn closer together, and the classes further apart.
"""

import matplotlib.pyplot as plt
import torch
from sklearn.datasets import load_digits
from torch import nn

from crosshead.nn import MarginHead

torch.set_num_threads(1)
X, y = load_digits(n_class=5, return_X_y=True)
X, y = torch.tensor(X / 16, dtype=torch.float32), torch.tensor(y)


def embedded(m2, m3):
    """Directions (N, 2) after training a small network with a margin head."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    head = MarginHead(2, 5, m2=m2, m3=m3, scale=12.0)
    optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=0.02)
    for _ in range(100):
        optimizer.zero_grad()
        head(network(X), y).backward()
        optimizer.step()
    with torch.no_grad():
        return nn.functional.normalize(network(X)), nn.functional.normalize(head.weight)


figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained")
colours = ["#0072b2", "#d55e00", "#009e73", "#b5628f", "#7a6a00"]
for ax, (name, m2, m3) in zip(
    axes, [("no margin", 0, 0), ("ArcFace, m₂ = 0.4", 0.4, 0), ("CosFace, m₃ = 0.3", 0, 0.3)], strict=True
):
    points, directions = embedded(m2, m3)
    for label, colour in enumerate(colours):
        own = points[y == label]
        radius = 1 + 0.05 * torch.randn(len(own), 1, generator=torch.Generator().manual_seed(label))
        ax.scatter(*(own * radius).T, s=5, color=colour)
        ax.plot([0, directions[label, 0]], [0, directions[label, 1]], color=colour, linewidth=1.5)
    spread = torch.rad2deg(torch.acos((points * directions[y]).sum(dim=1).clamp(-1, 1))).mean()
    ax.set_title(f"{name}: {spread:.0f}° from the own class", fontsize=10)
    ax.set_aspect("equal")
    ax.axis("off")

# %%
# Lines are the directions of the classes, rows of ``head.weight``. The points are moved a little in and out of the
# circle so that they can be seen. With two dimensions five classes are easy; faces use 512 and very many classes.
