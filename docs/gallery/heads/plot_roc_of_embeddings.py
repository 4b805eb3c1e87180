"""
ROC of embeddings
=================

Do two images show the same class? That is asked of classes which training has not seen: embeddings are compared by
their cosine, and a threshold decides. Here embeddings are made of what the digits 0 to 4 teach, and judged on the
digits 5 to 9.
"""

from sklearn.datasets import load_digits

from crosshead import LinearClassifier
from crosshead.evaluation import roc_of_embeddings
from crosshead.report import RocDisplay

X, y = load_digits(return_X_y=True)
X = X / 16
seen, unseen = y < 5, y >= 5
model = LinearClassifier(alpha=1e-3).fit(X[seen], y[seen])
embeddings = {
    "pixels": X[unseen],
    "scores": model.decision_function(X[unseen]),
    "centred": X[unseen] - X[seen].mean(axis=0),
}
curves = {name: roc_of_embeddings(vectors, y[unseen]) for name, vectors in embeddings.items()}
RocDisplay(curves).plot()

# %%
# The equal error rate is where as many pairs of the same class are refused as pairs of different classes are
# accepted.

for name, curve in curves.items():
    point = curve.tar_at(0.01)
    print(f"{name:26} AUC {curve.auc:.3f}, equal error rate {curve.eer:.1%}, TAR {point.tar:.1%} at FAR 1 %")

# %%
# The scores of a classifier of five classes are five numbers that know little of other digits. Taking away the mean
# of the pixels, which all images share, helps: cosines then compare what is particular to an image. Networks that are
# trained with a margin head learn better embeddings; ``examples/faces.py`` trains one on faces.
