from __future__ import annotations

import io
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.figure import Figure
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crosshead import LinearClassifier, LinearClassifierCV, regularisation_path
from crosshead.escaping import for_terminal
from crosshead.evaluation import reliability, roc
from crosshead.report import (
    ClassTemplateDisplay,
    ConfusionDisplay,
    DecisionRegionsDisplay,
    LossCurveDisplay,
    LossFunctionDisplay,
    LossSurfaceDisplay,
    PathDisplay,
    ReliabilityDisplay,
    RocDisplay,
)
from crosshead.report.displays.confusion import STRONGEST
from crosshead.report.displays.loss_functions import margins_of
from crosshead.report.displays.roc import visible
from crosshead.solvers import Progress


def lines(axis):
    return {line.get_label(): line.get_xydata() for line in axis.get_lines()}


class TestLossCurves:
    def test_what_is_drawn_is_the_history(self, digits_model):
        display = LossCurveDisplay.from_estimator(digits_model, by="seconds")
        above, below = display.axes_
        assert display.ax_ is above
        drawn = lines(above)["objective"]
        np.testing.assert_allclose(drawn[:, 0], [one.seconds for one in digits_model.history_])
        np.testing.assert_allclose(drawn[:, 1], [one.objective for one in digits_model.history_])
        assert below.get_yscale() == "log"
        assert f"{digits_model.objective_:.4g}" in display.describe()

    def test_gaps_that_are_not_known_are_not_drawn(self):
        history = [Progress(1, 1, 0.1, 2.0, math.inf), Progress(2, 2, 0.2, 1.0, math.inf)]
        display = LossCurveDisplay.from_history(history)
        assert display.axes_[1].get_lines()[0].get_xydata().size == 0
        assert "gap" not in display.describe()

    def test_train_and_held_out_losses_are_named(self):
        columns = {"passes": [1, 2], "seconds": [0.1, 0.2], "objective": [2.0, 1.0], "gap": [None, 0.5]}
        display = LossCurveDisplay.from_history(columns, train=[1.9, 0.9], validation=[2.1, 1.2])
        assert set(lines(display.ax_)) == {"objective", "loss, training rows", "loss, held out"}
        assert "lowest, 1.2, after 2 passes" in display.describe()
        with pytest.raises(ValueError, match="3 values for 2 iterations"):
            LossCurveDisplay.from_history(columns, validation=[1, 2, 3])

    def test_what_was_never_fitted_has_no_curve(self, digits_model):
        with pytest.raises(ValueError, match="fit it first"):
            LossCurveDisplay.from_estimator(LinearClassifier())
        with pytest.raises(ValueError, match="passes, seconds"):
            LossCurveDisplay.from_estimator(digits_model, by="weeks")


class TestLossFunctions:
    def test_the_curves_are_the_textbook_formulas(self):
        m = np.array([-2.0, -0.5, 0.0, 0.5, 1.0, 3.0])
        values = LossFunctionDisplay.from_losses(margins=m).values
        np.testing.assert_allclose(values["hinge"], np.maximum(0, 1 - m))
        np.testing.assert_allclose(values["squared_hinge"], np.maximum(0, 1 - m) ** 2)
        np.testing.assert_allclose(values["softmax"], np.log1p(np.exp(-m)))
        np.testing.assert_array_equal(values["zero_one"], [1, 1, 1, 0, 0, 0])

    def test_margins_of_samples_say_who_is_right(self, digits, digits_model):
        X, y = digits
        display = LossFunctionDisplay.from_estimator(digits_model, X, y)
        assert np.mean(display.samples > 0) == pytest.approx(digits_model.score(X, y))

    def test_two_classes(self, petals):
        X, y = petals
        model = LinearClassifier(alpha=1e-2).fit(X, y == 0)
        display = LossFunctionDisplay.from_estimator(model, X, y == 0)
        assert np.mean(display.samples > 0) == pytest.approx(model.score(X, y == 0))

    def test_shapes_that_do_not_fit_are_refused(self):
        with pytest.raises(ValueError, match=r"\(N, C\)"):
            margins_of(np.zeros((3, 2)), np.zeros(2, dtype=int))


class TestLossSurface:
    @pytest.mark.parametrize("loss", ["softmax", "hinge"])
    def test_the_middle_is_the_optimum(self, petals, loss):
        model = LinearClassifier(loss, alpha=1e-2, l1_ratio=0.3, tol=1e-4).fit(*petals)
        display = LossSurfaceDisplay.from_estimator(model, *petals, weights=((0, 1), (2, 0)), points=9)
        assert display.values[4, 4] == pytest.approx(model.objective_, rel=1e-9)
        assert display.values.min() >= model.objective_ * (1 - 1e-4)
        assert (display.first[4], display.second[4]) == (model.coef_[0, 1], model.coef_[2, 0])


class TestConfusion:
    def test_counts_are_scikit_learns(self, digits, digits_model):
        X, y = digits
        display = ConfusionDisplay.from_estimator(digits_model, X, y)
        np.testing.assert_array_equal(display.counts, confusion_matrix(y, digits_model.predict(X)))
        texts = [text.get_text() for text in display.ax_.texts]
        assert sorted(texts) == sorted(str(count) for count in display.counts.ravel() if count)

    def test_a_hundred_classes_are_readable(self):
        generator = np.random.default_rng(0)
        true = np.arange(1000) % 100
        display = ConfusionDisplay.from_predictions(true, np.where(generator.random(1000) < 0.9, true, 7))
        assert len(display.ax_.get_xticks()) <= 34
        assert not display.ax_.texts
        (image,) = display.ax_.get_images()
        assert image.get_array().shape == (100, 100, 4)

    def test_errors_are_seen_beside_many_right_predictions(self):
        many = ConfusionDisplay(np.array([[80, 20], [0, 50]]), ["a", "b"])
        assert many._colours()[0, 1, 3] == round(255 * STRONGEST)
        display = ConfusionDisplay(np.array([[999, 1], [0, 500]]), ["a", "b"])
        picture = display._colours()
        assert picture[1, 0, 3] < picture[0, 1, 3] == round(255 * STRONGEST / 10)
        assert tuple(picture[0, 1, :3]) != tuple(picture[0, 0, :3])
        assert "a taken for b (1, 0.1 % of its class)" in display.describe()

    def test_a_class_without_samples(self):
        display = ConfusionDisplay.from_predictions([0, 0], [0, 2], labels=[0, 1, 2])
        assert display.shares[1].tolist() == [0, 0, 0]


class TestTemplates:
    def test_sign_is_hue_and_size_is_opacity(self):
        weight = np.array([[1.0, -1.0, 0.0, 0.5]])
        display = ClassTemplateDisplay.from_weights(np.vstack([weight, 0 * weight]), ["a", "b"], shape=(2, 2))
        picture = display.images(1)[0].reshape(4, 4)
        assert picture[:, 3].tolist() == [255, 255, 0, 128]
        assert picture[0, :3].tolist() == picture[3, :3].tolist() != picture[1, :3].tolist()

    def test_one_row_for_two_classes(self):
        model = LogisticRegression().fit(np.eye(4), [0, 0, 1, 1])
        display = ClassTemplateDisplay.from_estimator(model, shape=(2, 2))
        np.testing.assert_array_equal(display.weight[0], -display.weight[1])

    def test_colours_and_large_pictures(self):
        weight = np.random.default_rng(0).normal(size=(2, 100 * 60 * 3))
        display = ClassTemplateDisplay.from_weights(weight, ["a", "b"], shape=(100, 60, 3))
        assert display.images(1)[0].shape == (48, 29, 4)

    def test_chosen_classes(self, digits_model):
        display = ClassTemplateDisplay.from_estimator(digits_model, shape=(8, 8), classes=[7, 3])
        assert display.labels == ["7", "3"]
        np.testing.assert_array_equal(display.weight, digits_model.coef_[[7, 3]])

    @pytest.mark.parametrize("shape", [(8,), (8, 9), (8, 8, 2)])
    def test_shapes_that_are_no_pictures(self, digits_model, shape):
        with pytest.raises(ValueError, match=r"shape|pixels"):
            ClassTemplateDisplay.from_estimator(digits_model, shape=shape)


class TestDecisionRegions:
    def test_the_winner_is_what_the_classifier_predicts(self, petals, petals_model):
        display = DecisionRegionsDisplay.from_estimator(petals_model, *petals, resolution=15)
        grid = np.column_stack([part.ravel() for part in np.meshgrid(display.x, display.y)])
        expected = petals_model.predict(grid).reshape(15, 15)
        np.testing.assert_array_equal(display.scores.argmax(axis=2), expected)

    def test_a_zero_line_lies_where_the_score_is_zero(self, petals, petals_model):
        display = DecisionRegionsDisplay.from_estimator(petals_model, *petals, resolution=60)
        figure = Figure()
        drawn = display.plot(figure.subplots())
        contours = [made for made in drawn.ax_.collections if type(made).__name__ == "QuadContourSet"]
        assert contours
        first = contours[0].get_paths()[0].vertices
        scores = first @ petals_model.coef_.T + petals_model.intercept_
        assert np.abs(scores).min(axis=1).max() < 1e-6

    def test_pipelines_and_two_classes(self, petals):
        X, y = petals
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y > 0)
        display = DecisionRegionsDisplay.from_estimator(model, X, y > 0, resolution=9)
        assert display.scores.shape == (9, 9, 2)

    def test_further_features_stay_at_their_means(self, digits, digits_model):
        display = DecisionRegionsDisplay.from_estimator(digits_model, *digits, features=(20, 43), resolution=9)
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("feature 20", "feature 43")
        with pytest.raises(ValueError, match="at least 2 features"):
            DecisionRegionsDisplay.from_estimator(digits_model, digits[0][:, :1])


class TestPath:
    def test_the_folds_are_drawn(self, petals):
        model = LinearClassifierCV(alphas=[1e-1, 1e-2, 1e-3], cv=3).fit(*petals)
        display = PathDisplay.from_estimator(model)
        np.testing.assert_allclose(display.curves[0].held_out, -model.mean_scores_)
        assert len(display.axes_) == 3
        assert f"{model.alpha_:.3g}" in display.describe()

    def test_a_path_alone_shows_its_coefficients(self, petals):
        path = regularisation_path(*petals, 4, l1_ratio=1.0)
        display = PathDisplay.from_path(path)
        np.testing.assert_array_equal(lines(display.ax_)["_child0"][:, 1], path.nnz)
        with pytest.raises(ValueError, match="keep_coef"):
            PathDisplay.from_path(regularisation_path(*petals, 2, keep_coef=False))


class TestReliability:
    def test_the_table_is_that_of_the_evaluation(self, digits, digits_model):
        X, y = digits
        display = ReliabilityDisplay.from_estimator(digits_model, X, y, bins=12)
        table = reliability(digits_model.predict_proba(X), y, bins=12)
        np.testing.assert_array_equal(display.table.count, table.count)
        np.testing.assert_allclose(display.table.accuracy, table.accuracy)
        heights = [bar.get_height() for bar in display.axes_[1].patches]
        assert heights == table.count.tolist()
        assert f"{table.ece:.3g}" in display.describe()

    def test_bins_of_equal_mass_and_one_sample(self):
        p = np.array([[0.6, 0.4], [0.8, 0.2], [0.1, 0.9]])
        assert ReliabilityDisplay.from_predictions([0, 0, 0], p, bins=3, strategy="quantile").table.ece > 0
        assert "1 predictions" in ReliabilityDisplay.from_predictions([0], p[:1]).describe()


class TestRoc:
    def test_steps_reach_what_each_rate_allows(self):
        similarity, same = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1, 0, 1, 0, 1, 1]
        display = RocDisplay.from_pairs(similarity, same, name="by hand")
        assert display.ax_.get_xscale() == "log"
        (drawn,) = (points for name, points in lines(display.ax_).items() if name.startswith("by hand"))
        np.testing.assert_allclose(drawn, [[0.5, 0.5], [1.0, 1.0]])
        far, tar = visible(roc([0.9, 0.8, 0.8, 0.7], [1, 0, 0, 1]))
        assert (far.tolist(), tar.tolist()) == ([0.5, 1.0], [0.5, 1.0])

    def test_words_and_several_curves(self):
        generator = np.random.default_rng(0)
        identities = np.repeat(np.arange(6), 5)
        embeddings = np.eye(6)[identities] + 0.3 * generator.normal(size=(30, 6))
        display = RocDisplay.from_embeddings(embeddings, identities)
        assert "60 genuine and 375 impostor pairs" in display.describe()
        assert "the smallest is 1/375" in display.describe()
        both = RocDisplay({"one $": display.curves["embeddings"], "two": display.curves["embeddings"]}).plot()
        assert sum("EER" in text.get_text() for text in both.ax_.get_legend().get_texts()) == 2
        with pytest.raises(ValueError, match="no curve"):
            RocDisplay({})
        with pytest.raises(ValueError, match="logarithmic"):
            RocDisplay(display.curves, fars=(0.0,))


HOSTILE = ("\x1b]0;x\x07", "$x^{", "a\nb", "\u202eabc", "]]>", "<script>", "$$", "\\$1$")


def text_of(figure):
    """All text of a figure, as in its SVG."""
    stream = io.StringIO()
    with rc_context({"svg.fonttype": "none"}):
        figure.savefig(stream, format="svg")
    return " ".join(element.text or "" for element in ElementTree.fromstring(stream.getvalue()).iter())


def test_names_are_drawn_letter_by_letter():
    """No name begins a formula of matplotlib's, is no text of XML, or controls the terminal that reads of it."""
    counts = np.arange(len(HOSTILE) ** 2).reshape(len(HOSTILE), -1)
    matrix = ConfusionDisplay(counts, list(HOSTILE)).plot()
    templates = ClassTemplateDisplay(np.eye(len(HOSTILE), 9), list(HOSTILE), (3, 3)).plot()
    for display in (matrix, templates):
        drawn = text_of(display.figure_)
        for name in ("$x^{", "a\\nb", r"\u202eabc", "]]>", "<script>", "$$", "\\$1$", r"\x1b]0;x\x07"):
            assert name in drawn
        assert display.describe().isprintable()
    curve = roc(np.linspace(0, 1, 20), np.arange(20) % 2 == 1)
    for name in HOSTILE:
        display = RocDisplay({name: curve}).plot()
        assert for_terminal(name) in text_of(display.figure_)
        assert for_terminal(display.describe()) == display.describe()
