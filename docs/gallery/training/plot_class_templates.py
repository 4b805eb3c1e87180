"""
Class templates
===============

A linear classifier of images has one weight per class and pixel, so that each row of W can be shown as an image. Blue
pixels raise the score of the class, vermillion ones lower it.
"""

from sklearn.datasets import load_digits

from crosshead import LinearClassifier
from crosshead.report import ClassTemplateDisplay

X, y = load_digits(return_X_y=True)
X = X / 16
model = LinearClassifier(alpha=1e-2).fit(X, y)
display = ClassTemplateDisplay.from_estimator(model, shape=(8, 8))

# %%
# The display also says in words what is drawn:

print(display.describe())

# %%
# With a weaker penalty the weights follow single pixels of the training rows, and the templates are harder to read.

weaker = LinearClassifier(alpha=1e-5).fit(X, y)
ClassTemplateDisplay.from_estimator(weaker, shape=(8, 8))
print(f"‖W‖² = {(model.coef_**2).sum():.1f} at α = 1e-2, {(weaker.coef_**2).sum():.1f} at α = 1e-5")
