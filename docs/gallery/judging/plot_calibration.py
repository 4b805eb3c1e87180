"""
Reliability before and after calibration
========================================

A model is calibrated where, of all predictions made with a confidence of 80 %, 80 % are right. With many features and
a weak penalty it is too confident. One number, the temperature T, mends most of that: probabilities become
softmax(z/T).
"""

import matplotlib.pyplot as plt
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier, TemperatureScaler, evaluate
from crosshead.report import ReliabilityDisplay

X, y = make_classification(
    7000, n_features=120, n_informative=12, n_classes=4, flip_y=0.02, class_sep=1.4, random_state=0
)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=1200, random_state=0)
X_calibration, X_test, y_calibration, y_test = train_test_split(X_rest, y_rest, train_size=1500, random_state=0)

model = LinearClassifier(alpha=1e-3).fit(X_train, y_train)
scaler = TemperatureScaler().fit(model.decision_function(X_calibration), y_calibration)
print(f"temperature {scaler.temperature_:.2f}: above 1, the model was too confident")

figure, axes = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
before = model.predict_proba(X_test)
after = scaler.predict_proba(model.decision_function(X_test))
for ax, title, probabilities in zip(axes, ["as trained", "with the temperature"], [before, after], strict=True):
    display = ReliabilityDisplay.from_predictions(y_test, probabilities, bins=12, ax=ax)
    measures = evaluate(probabilities, y_test)
    display.ax_.set_title(title)
    print(f"{title:20} error {measures.error:.1%}, cross-entropy {measures.cross_entropy:.3f}, ECE {measures.ece:.3f}")

# %%
# The error is the same, because a temperature keeps the order of the scores. The temperature was fitted on rows that
# the model was not trained on, and judged on a third set: see :doc:`/how-to/calibration`.
