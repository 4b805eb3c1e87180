"""
A regularisation path
=====================

How strong should the penalty be? ``LinearClassifierCV`` fits one model for each α, from strong to weak, and measures
each on held-out folds. Every fit is certified.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

from crosshead import LinearClassifierCV, regularisation_path
from crosshead.report import PathDisplay

X, y = load_wine(return_X_y=True)
X = StandardScaler().fit_transform(X)
search = LinearClassifierCV(alphas=12, l1_ratio=1.0, cv=4, random_state=0).fit(X, y)
display = PathDisplay.from_estimator(search, title="wine, L1")
print(f"chosen: α = {search.alpha_:.3g}")

# %%
# The weights along the path
# --------------------------
#
# With L1, weights leave zero one after the other as α falls.

path = regularisation_path(X, y, 20, l1_ratio=1.0)
figure, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
for feature in range(X.shape[1]):
    ax.plot(path.alphas, path.coef[:, 0, feature], linewidth=1.2)
ax.set(xscale="log", xlabel="α", ylabel="weights of class 0")
ax.invert_xaxis()
ax.axvline(search.alpha_, color="0.6", linestyle="--")
print(f"all {len(path)} fits certified: {path.certified}")
print(f"non-zero weights: {path.nnz[0]} at α = {path.alphas[0]:.2g}, {path.nnz[-1]} at α = {path.alphas[-1]:.2g}")
