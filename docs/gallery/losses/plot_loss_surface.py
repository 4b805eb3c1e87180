"""
A loss surface and the way of a fit
===================================

Two features and two classes without a bias leave two weights: W = (w, −w). The objective can then be drawn whole, and
with it the points that a training goes through.
"""

import warnings

import numpy as np
from sklearn.datasets import load_iris

from crosshead import ConvergenceWarning, LinearClassifier, get_loss
from crosshead.report import LossSurfaceDisplay

X, y = load_iris(return_X_y=True)
X, y = X[y > 0][:, 2:], y[y > 0] - 1  # versicolor and virginica: length and width of the petals
X = (X - X.mean(axis=0)) * [1.0, 2.0]
alpha, softmax = 1e-2, get_loss("softmax")


def objective(w):
    """Mean cross-entropy and L2 penalty at W = (w, −w)."""
    W = np.stack([w, -w])
    return softmax.value(X @ W.T, y).mean() + alpha / 2 * (W**2).sum()


def slope(w):
    """Its gradient, by central differences."""
    return np.array([(objective(w + d) - objective(w - d)) / 2e-6 for d in 1e-6 * np.eye(2)])


model = LinearClassifier(alpha=alpha, fit_intercept=False, tol=1e-10).fit(X, y)
best = (model.coef_[0] - model.coef_[1]) / 2
print(f"{model.status_} after {model.n_iter_} iterations; F = {model.objective_:.6f}, here {objective(best):.6f}")

# %%
# Fits that end after 1, 2, 3, … iterations show the way of the solver. Beside it goes gradient descent with a fixed
# step, which takes the steepest way down at each point.

newton = [np.zeros(2)]
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # they are to end early
    for iterations in range(1, model.n_iter_ + 1):
        early = LinearClassifier(alpha=alpha, fit_intercept=False, tol=1e-10, max_iter=iterations).fit(X, y)
        newton.append((early.coef_[0] - early.coef_[1]) / 2)

descent = [np.zeros(2)]
for _ in range(60):
    descent.append(descent[-1] - 0.4 * slope(descent[-1]))

first, second = np.linspace(-3.2, 0.6, 61), np.linspace(-3.2, 0.6, 61)
values = np.array([[objective(np.array([a, b])) for a in first] for b in second])
display = LossSurfaceDisplay(first, second, values, tuple(best), ("w₁, petal length", "w₂, petal width × 2")).plot()
for points, colour, label in [(descent, "#d55e00", "gradient descent"), (newton, "#0072b2", "crosshead")]:
    display.ax_.plot(*np.array(points).T, ".-", color=colour, label=label, linewidth=1)
display.ax_.legend(loc="lower right", fontsize=8)

# %%
# How far each is from the minimum afterwards:

print(f"gradient descent after 60 steps: F − F* = {objective(descent[-1]) - model.objective_:.1e}")
print(f"crosshead after {model.n_iter_} iterations: certified to {model.tol:.0e} of F")
