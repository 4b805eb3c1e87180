"""
A confusion matrix
==================

Rows are true classes, columns predicted ones. Numbers are counts; colour is the share of the true class.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from crosshead import LinearClassifier
from crosshead.evaluation import confusion_matrix, per_class
from crosshead.report import ConfusionDisplay

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)
model = LinearClassifier("hinge", alpha=1e-2).fit(X_train, y_train)
display = ConfusionDisplay.from_estimator(model, X_test, y_test)

# %%
# The display in words, and precision and recall class by class:

print(display.describe())
measures = per_class(confusion_matrix(model.predict(X_test), y_test, 10))
for digit in range(10):
    print(f"{digit}: precision {measures.precision[digit]:.3f}, recall {measures.recall[digit]:.3f}")
