from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.model_selection import KFold

from crosshead.evaluation import (
    folded_accuracy,
    pair_similarity,
    pairs_by_fold,
    roc,
    roc_of_embeddings,
)
from crosshead.evaluation.verification.pairs import CELLS


def drawn(genuine, impostors, distance=1.5, *, seed=0, digits=None):
    generator = np.random.default_rng(seed)
    similarity = np.concatenate([distance + generator.normal(size=genuine), generator.normal(size=impostors)])
    same = np.arange(genuine + impostors) < genuine
    order = generator.permutation(len(same))
    return (similarity if digits is None else similarity.round(digits))[order], same[order]


def people(n_people, per_person, features, *, noise=0.5, seed=0):
    generator = np.random.default_rng(seed)
    identities = np.repeat(np.arange(n_people), per_person)
    centres = generator.normal(size=(n_people, features))
    return centres[identities] + noise * generator.normal(size=(len(identities), features)), identities


class TestRoc:
    @pytest.mark.parametrize("digits", [None, 1, 0])
    @pytest.mark.parametrize(("genuine", "impostors"), [(1, 1), (1, 40), (57, 201), (300, 3)])
    def test_the_curve_is_scikit_learns(self, genuine, impostors, digits):
        similarity, same = drawn(genuine, impostors, digits=digits)
        curve = roc(similarity, same)
        far, tar, threshold = roc_curve(same, similarity, drop_intermediate=False)
        np.testing.assert_allclose(curve.far, far)
        np.testing.assert_allclose(curve.tar, tar)
        np.testing.assert_array_equal(curve.threshold, threshold)
        assert curve.auc == pytest.approx(roc_auc_score(same, similarity))
        assert (curve.genuine, curve.impostors) == (genuine, impostors)

    def test_the_equal_error_rate_lies_on_scikit_learns_curve(self):
        similarity, same = drawn(57, 201)
        far, tar, _ = roc_curve(same, similarity)
        corner = np.arange(len(far))
        crossing = brentq(lambda k: np.interp(k, corner, far) + np.interp(k, corner, tar) - 1, 0, corner[-1])
        assert roc(similarity, same).eer == pytest.approx(np.interp(crossing, corner, far), abs=1e-10)

    def test_two_normal_distributions(self):
        # similarities N(d, 1) and N(0, 1): EER = Φ(−d/2), AUC = Φ(d/√2), TAR at FAR f = Φ(d − Φ⁻¹(1 − f))
        curve = roc(*drawn(100_000, 200_000, distance=1.5))
        assert curve.eer == pytest.approx(norm.cdf(-0.75), abs=3e-3)
        assert curve.auc == pytest.approx(norm.cdf(1.5 / np.sqrt(2)), abs=3e-3)
        point = curve.tar_at(1e-2)
        assert point.tar == pytest.approx(norm.cdf(1.5 - norm.isf(1e-2)), abs=1e-2)
        assert point.threshold == pytest.approx(norm.isf(1e-2), abs=3e-2)

    @pytest.mark.parametrize("far", [0, 1e-3, 0.01, 0.1, 0.3, 0.7, 1])
    def test_an_operating_point_is_the_lowest_threshold_that_keeps_the_rate(self, far):
        similarity, same = drawn(23, 10, digits=1)
        point = roc(similarity, same).tar_at(far)
        kept = [t for t in np.unique(similarity) if np.mean(similarity[~same] >= t) <= far + 1e-12]
        threshold = min(kept, default=np.inf)
        assert point.threshold == threshold
        assert point.tar == pytest.approx(np.mean(similarity[same] >= threshold))
        assert point.far == pytest.approx(np.mean(similarity[~same] >= threshold))
        assert point.false_accepts == np.sum(similarity[~same] >= threshold)

    def test_too_few_impostors_are_said(self):
        curve = roc(*drawn(40, 300))
        assert curve.tar_at(1e-2).resolved
        point = curve.tar_at(1e-3)
        assert not point.resolved
        assert (point.false_accepts, point.impostors) == (0, 300)
        assert point.tar == curve.tar_at(0).tar
        assert [part["resolved"] for part in curve.to_dict()["tar_at_far"]] == [True, False]

    def test_perfect_reversed_and_undecided(self):
        perfect = roc([0.9, 0.8, 0.1], [1, 1, 0])
        assert (perfect.eer, perfect.auc, perfect.tar_at(0).tar) == (0, 1, 1)
        assert (roc([0.1, 0.9], [1, 0]).eer, roc([0.1, 0.9], [1, 0]).auc) == (1, 0)
        undecided = roc(np.zeros(7), [1, 1, 0, 0, 0, 0, 0])
        assert (undecided.eer, undecided.auc, undecided.tar_at(0.5).tar) == (0.5, 0.5, 0)
        assert undecided.to_dict([0.5])["tar_at_far"][0]["threshold"] is None

    def test_only_the_order_of_similarities_counts(self):
        similarity, same = drawn(31, 77)
        curve, stretched = roc(similarity, same), roc(np.exp(3 * similarity), same)
        assert (curve.eer, curve.auc) == (stretched.eer, stretched.auc)

    @pytest.mark.parametrize(
        ("similarity", "same", "message"),
        [
            ([0.1, np.nan], [1, 0], "the similarity of pair 1 is nan"),
            ([0.1, 0.2], [1, 1], "there is no impostor pair"),
            ([0.1, 0.2], [0, 0], "there is no genuine pair"),
            ([0.1, 0.2], [1, 0, 0], "2 similarities need as many answers"),
            ([0.1, 0.2], [1, 2], "`same` must be True"),
            ([[0.1, 0.2]], [[1, 0]], r"shape \(pairs,\)"),
            ([], [], r"shape \(pairs,\)"),
        ],
    )
    def test_bad_pairs(self, similarity, same, message):
        with pytest.raises(ValueError, match=message):
            roc(similarity, same)

    def test_a_rate_is_a_share(self):
        with pytest.raises(ValueError, match="between 0 and 1, not 2"):
            roc([1, 0], [1, 0]).tar_at(2)


class TestFolds:
    def test_thresholds_come_from_the_other_folds(self):
        similarity, same = drawn(60, 61)
        found = folded_accuracy(similarity, same, folds=11)
        for number, (train, test) in enumerate(KFold(11).split(similarity)):
            candidates = np.unique(similarity[train])
            right = [np.mean((similarity[train] >= t) == same[train]) for t in candidates]
            threshold = found.thresholds[number]
            assert np.mean((similarity[train] >= threshold) == same[train]) == pytest.approx(max(right))
            accuracy = np.mean((similarity[test] >= threshold) == same[test])
            assert found.accuracies[number] == pytest.approx(accuracy)
        assert found.accuracy == pytest.approx(np.mean(found.accuracies))
        assert found.standard_error == pytest.approx(np.std(found.accuracies, ddof=1) / np.sqrt(11))

    def test_two_normal_distributions(self):
        found = folded_accuracy(*drawn(50_000, 50_000, distance=2.0), folds=4)  # best at 1: Φ(1) on either side
        assert found.accuracy == pytest.approx(norm.cdf(1), abs=5e-3)
        np.testing.assert_allclose(found.thresholds, 1, atol=0.1)

    def test_named_folds_and_a_fold_that_misleads(self):
        # In fold "b" impostors are the more similar ones: to accept nothing is the best it can teach fold "a", and the
        # threshold of "a" does all wrong in "b".
        similarity, same = [0.9, 0.1, 0.1, 0.9], [1, 0, 1, 0]
        found = folded_accuracy(similarity, same, folds=["a", "a", "b", "b"])
        assert found.accuracies.tolist() == [0.5, 0.0]
        assert found.thresholds.tolist() == [np.inf, 0.5]

    @pytest.mark.parametrize(
        ("folds", "message"),
        [(1, "2 to 4 folds"), (5, "2 to 4 folds"), ([0, 0, 0, 0], "at least 2 folds"), ([0, 1], r"shape \(4,\)")],
    )
    def test_bad_folds(self, folds, message):
        with pytest.raises(ValueError, match=message):
            folded_accuracy([0.9, 0.1, 0.1, 0.9], [1, 0, 1, 0], folds=folds)


class TestEmbeddings:
    @pytest.mark.parametrize("block", [1, 7, 64, 1000])
    def test_all_pairs_in_blocks(self, block):
        embeddings, identities = people(9, 7, 5)
        curve = roc_of_embeddings(embeddings, identities.astype(str), block=block)
        left, right = np.triu_indices(len(embeddings), 1)
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        cosine = np.rint((unit[left] * unit[right]).sum(axis=1) * CELLS) / CELLS
        whole = roc(cosine, identities[left] == identities[right])
        np.testing.assert_array_equal(curve.threshold, whole.threshold)
        np.testing.assert_array_equal(curve.false_accepts, whole.false_accepts)
        np.testing.assert_array_equal(curve.true_accepts, whole.true_accepts)

    def test_memory_does_not_grow_with_the_pairs(self):
        embeddings, identities = people(284, 5, 3)
        tracemalloc.start()
        curve = roc_of_embeddings(embeddings.astype(np.float32), identities, block=128)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert curve.genuine + curve.impostors == 1420 * 1419 // 2 > 1_000_000
        assert curve.genuine == 284 * 10
        fixed = 8 * (2 * CELLS + 1)  # one row of cells
        assert peak < 7 * fixed

    def test_size_and_tiny_and_huge_embeddings_do_not_matter(self):
        embeddings, identities = people(6, 4, 5)
        sizes = np.logspace(-200, 200, len(embeddings))[:, None]
        np.testing.assert_array_equal(
            roc_of_embeddings(embeddings, identities).tar, roc_of_embeddings(embeddings * sizes, identities).tar
        )

    def test_memory_mapped_and_read_only(self, tmp_path):
        embeddings, identities = people(6, 4, 5)
        np.save(tmp_path / "embeddings.npy", embeddings)
        mapped = np.load(tmp_path / "embeddings.npy", mmap_mode="r")
        assert roc_of_embeddings(mapped, identities).eer == roc_of_embeddings(embeddings, identities).eer

    @pytest.mark.parametrize(
        ("embeddings", "identities", "message"),
        [
            ([[1, 0], [0, 0], [1, 1]], [0, 0, 1], "row 1 is zero"),
            ([[1, 0], [0, 1], [np.nan, 1]], [0, 0, 1], "row 2 is zero or not finite"),
            ([[1, 0], [0, 1]], [0, 0, 1], r"identities must have shape \(2,\)"),
            ([[1, 0], [0, 1]], [0, 1], "no genuine pair"),
            ([[1, 0], [0, 1]], [0, 0], "no impostor pair"),
            ([[1, 0]], [0], "pairs need at least 2 embeddings"),
            ([1, 0], [0, 1], r"\(samples, features\)"),
        ],
    )
    def test_bad_embeddings(self, embeddings, identities, message):
        with pytest.raises(ValueError, match=message):
            roc_of_embeddings(embeddings, identities)

    def test_blocks_have_rows(self):
        with pytest.raises(ValueError, match="at least one row, not 0"):
            roc_of_embeddings([[1, 0], [0, 1]], [0, 1], block=0)


class TestDrawnPairs:
    def test_pairs_are_balanced_distinct_and_parted_by_person(self):
        _, identities = people(23, 6, 2)
        identities = np.random.default_rng(0).permutation(identities)
        pairs = pairs_by_fold(identities, folds=4, pairs=60, seed=3)
        np.testing.assert_array_equal(identities[pairs.left] == identities[pairs.right], pairs.same)
        assert (pairs.left != pairs.right).all()
        unordered = {frozenset(pair) for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)}
        assert len(unordered) == len(pairs.same) == 240
        assert np.bincount(pairs.fold, pairs.same).tolist() == [30] * 4
        used = [
            set(identities[pairs.left[pairs.fold == k]]) | set(identities[pairs.right[pairs.fold == k]])
            for k in range(4)
        ]
        assert sum(len(part) for part in used) == len(set().union(*used))

    def test_every_pair_can_be_drawn(self):
        pairs = pairs_by_fold([0, 1, 0, 2, 2, 2], folds=1, pairs=1000)
        unordered = {frozenset(pair) for pair in zip(pairs.left.tolist(), pairs.right.tolist(), strict=True)}
        assert len(unordered) == len(pairs.same) == 15  # of 6 samples
        assert pairs.same.sum() == 1 + 3

    def test_the_seed_decides(self):
        _, identities = people(10, 6, 2)
        once, again, other = (pairs_by_fold(identities, 2, 20, seed=seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(once.left, again.left)
        assert (once.left != other.left).any()

    def test_similarities_of_pairs(self):
        embeddings, identities = people(10, 6, 5)
        pairs = pairs_by_fold(identities, 2, 20)
        left, right = embeddings[pairs.left], embeddings[pairs.right]
        expected = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
        np.testing.assert_allclose(pair_similarity(embeddings, pairs.left, pairs.right), expected, rtol=1e-12)
        with pytest.raises(ValueError, match="two lists of rows of one length"):
            pair_similarity(embeddings, [0, 1], [1])

    @pytest.mark.parametrize(
        ("identities", "folds", "pairs", "message"),
        [
            ([0, 0, 1, 1], 2, 600, "2 identities make at most 1 folds"),
            ([0, 0, 1, 1], 1, 1, "at least 2 pairs"),
            ([0, 1, 2, 3], 2, 600, "fold 0 has no person with two samples"),
            ([[0, 1]], 1, 600, "one dimension"),
        ],
    )
    def test_what_cannot_be_drawn(self, identities, folds, pairs, message):
        with pytest.raises(ValueError, match=message):
            pairs_by_fold(identities, folds, pairs)
