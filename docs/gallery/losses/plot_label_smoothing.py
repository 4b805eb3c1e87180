"""
Label smoothing
===============

With label smoothing ε the target is 1 − ε + ε/C for the true class and ε/C for every other. The loss is then smallest
at a finite margin, and a model gains nothing from being ever more certain.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier
from crosshead.losses import Softmax

smoothings = [0.0, 0.1, 0.3]
colours = ["#0072b2", "#d55e00", "#009e73"]

margins = np.linspace(-2, 8, 201)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for smoothing, colour in zip(smoothings, colours, strict=True):
    scores = np.stack([margins, np.zeros_like(margins)], axis=1)
    values = Softmax(label_smoothing=smoothing).value(scores, np.zeros(len(margins), dtype=int))
    ax.plot(margins, values, color=colour, label=f"ε = {smoothing}")
ax.set(xlabel="margin of two classes", ylabel="loss (nats)")
ax.legend(frameon=False)

# %%
# A model that is trained with it is less confident. Whether it errs more or less often depends on the data; here the
# error rises a little.

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.3, random_state=0)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for smoothing, colour in zip(smoothings, colours, strict=True):
    model = LinearClassifier(Softmax(label_smoothing=smoothing), alpha=1e-4).fit(X_train, y_train)
    confidence = model.predict_proba(X_test).max(axis=1)
    ax.hist(
        confidence, bins=np.linspace(0.2, 1, 33), histtype="step", linewidth=1.6, color=colour, label=f"ε = {smoothing}"
    )
    error = 1 - model.score(X_test, y_test)
    print(f"ε = {smoothing}: mean confidence {confidence.mean():.3f}, error {error:.1%}, {model.status_}")
ax.set(xlabel="confidence on held-out digits", ylabel="samples")
ax.legend(frameon=False, loc="upper left")
