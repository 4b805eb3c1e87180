"""
Softmax and its temperature
===========================

softmax(z/T) keeps the order of the scores z at every temperature T. A low temperature moves all probability to the
largest score, a high one spreads it evenly.
"""

import matplotlib.pyplot as plt
import numpy as np

from crosshead.losses.functions import entropy, softmax

scores = np.array([1.0, 2.0, 3.0, 1.5, 0.0])
temperatures = [0.25, 1.0, 4.0]

figure, axes = plt.subplots(1, 3, figsize=(9, 3), sharey=True, layout="constrained")
for ax, temperature in zip(axes, temperatures, strict=True):
    ax.bar(range(len(scores)), softmax(scores / temperature), color="#0072b2")
    ax.set(title=f"T = {temperature:g}", xlabel="class", ylim=(0, 1))
axes[0].set_ylabel("probability")

# %%
# Entropy measures how undecided the probabilities are: from 0, one class for certain, to ln C, all C classes alike.

grid = np.geomspace(0.05, 50, 200)
probabilities = softmax(scores / grid[:, None])
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.semilogx(grid, entropy(probabilities, reduction="none"), color="#d55e00")
ax.axhline(np.log(len(scores)), color="0.6", linestyle="--", label="ln 5")
ax.set(xlabel="temperature T", ylabel="entropy (nats)")
ax.legend(frameon=False)

for temperature in temperatures:
    print(f"T = {temperature:4}: {softmax(scores / temperature).round(3).tolist()}")
