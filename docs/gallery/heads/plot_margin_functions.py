"""
Margins on the angle
====================

Margin heads replace the cosine of the angle θ between a feature and the direction of its own class by cos(m₁θ + m₂) −
m₃. The own class then has to be closer than the others by a margin: m₁ is SphereFace's, m₂ ArcFace's, m₃ CosFace's.
"""

import matplotlib.pyplot as plt
import torch

from crosshead.nn.functional import margin_cosine

angle = torch.linspace(0, torch.pi, 181, dtype=torch.float64)
heads = {
    "softmax on cosines": (1.0, 0.0, 0.0),
    "CosFace, m₃ = 0.35": (1.0, 0.0, 0.35),
    "ArcFace, m₂ = 0.5": (1.0, 0.5, 0.0),
    "SphereFace, m₁ = 2": (2.0, 0.0, 0.0),
}
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for (name, margins), style in zip(heads.items(), ["-", "--", "-.", ":"], strict=True):
    ax.plot(torch.rad2deg(angle), margin_cosine(angle.cos(), *margins), style, label=name)
ax.set(xlabel="angle to the own class (degrees)", ylabel="cosine that the softmax sees")
ax.legend(frameon=False, fontsize=8)

# %%
# At an angle of 60° the plain cosine is 0.5. The margins leave less of it, and the loss asks for a smaller angle.

cosine = torch.tensor([0.5], dtype=torch.float64)
for name, margins in heads.items():
    print(f"{name:20} {margin_cosine(cosine, *margins).item():+.3f}")
