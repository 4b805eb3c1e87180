"""
One sample explained
====================

Why does the model say what it says? A score is a sum over the features, so that it can be taken apart without
approximation. Here for a flower that is classified wrongly.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from crosshead import LinearClassifier, top_losses
from crosshead.explain import explain

iris = load_iris()
X = StandardScaler().fit_transform(iris.data)
names = iris.target_names[iris.target]
model = LinearClassifier(alpha=1e-2).fit(X, names)
row = top_losses(model.decision_function(X), iris.target, 1).rows[0]

parts = model.coef_ * X[row]  # one contribution for each class and feature
figure, ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")
labels = [*iris.feature_names, "bias"]
for place, (name, colour) in enumerate(zip(model.classes_, ["#0072b2", "#d55e00", "#009e73"], strict=True)):
    values = [*parts[place], model.intercept_[place]]
    ax.bar(np.arange(5) + 0.27 * (place - 1), values, 0.25, color=colour, label=f"{name}: sum {sum(values):.2f}")
ax.axhline(0, color="0.4", linewidth=0.8)
ax.set_xticks(range(5), labels, fontsize=8)
ax.set_ylabel("contribution to the score")
ax.legend(frameon=False, fontsize=8)
print(f"row {row}: true class {names[row]}, predicted {model.predict(X[[row]])[0]}")

# %%
# All the arithmetic, from the features to the loss and its gradient:

print(explain(model, X[row], names[row]))
