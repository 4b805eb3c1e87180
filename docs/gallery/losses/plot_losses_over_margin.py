"""
Losses over the margin
======================

The margin of a sample is the score of its true class minus the largest other score. It is positive where the
prediction is right. With two classes every loss is a function of the margin alone, so that the losses can be drawn
side by side.
"""

from sklearn.datasets import load_digits

from crosshead import LinearClassifier
from crosshead.report import LossFunctionDisplay

LossFunctionDisplay.from_losses(["hinge", "squared_hinge", "crammer_singer", "softmax", "zero_one"])

# %%
# The hinges are nowhere below the 0–1 loss, and neither is the cross-entropy when it is counted in bits: at a margin
# of 0 it is ln 2 = 0.693 nats, which is one bit. With two classes the hinges of Weston–Watkins and of Crammer–Singer
# are the same function, so that one curve hides the other.
#
# The margins of a trained model
# ------------------------------
#
# Behind the curves, the margins of real samples: most are far on the right, where the hinges are exactly 0 and the
# cross-entropy is small but positive.

X, y = load_digits(return_X_y=True)
X = X / 16
model = LinearClassifier("softmax", alpha=1e-3).fit(X, y)
display = LossFunctionDisplay.from_estimator(model, X, y)
print(display.describe())
