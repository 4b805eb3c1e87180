"""
Which of several models is better?
==================================

Two models that are measured on the same rows share most of the luck of the draw. The paired bootstrap uses that: it
gives an interval for the *difference*, which is narrower than those of the two measures.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier, compare

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)
models = {
    "strong penalty": LinearClassifier(alpha=1e-1),
    "weak penalty": LinearClassifier(alpha=1e-3),
    "one against rest": LinearClassifier("binary", alpha=1e-3),
}
predictions = {name: model.fit(X_train, y_train).predict_proba(X_test) for name, model in models.items()}
comparison = compare(predictions, y_test)

for name, measures in comparison.evaluations.items():
    print(f"{name:17} error {measures.error:.2%}, cross-entropy {measures.cross_entropy:.3f} nats")

# %%
figure, ax = plt.subplots(figsize=(7, 2.8), layout="constrained")
for place, pair in enumerate(comparison.pairs):
    difference = pair.differences["error"]
    low, high = difference.interval.lower, difference.interval.upper
    ax.plot([100 * low, 100 * high], [place, place], color="#0072b2", linewidth=3)
    ax.plot(100 * difference.estimate, place, "o", color="#d55e00")
    print(f"{pair.second} less {pair.first}: {difference.estimate:+.2%}, McNemar's p after Holm {pair.holm:.2g}")
ax.axvline(0, color="0.6", linewidth=1)
ax.set_yticks(
    range(len(comparison.pairs)), [f"{pair.second}\nless {pair.first}" for pair in comparison.pairs], fontsize=8
)
ax.set(
    xlabel="difference of the errors, percentage points, with 95 % intervals", ylim=(-0.5, len(comparison.pairs) - 0.5)
)
