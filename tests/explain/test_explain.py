"""What goes in, what is refused, and what comes out."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser

import numpy as np
import pytest
from scipy import sparse

from crosshead import LinearClassifier, LogisticRegression, Model
from crosshead.explain import (
    EXPLANATION_CSS,
    explain,
    explain_linear,
    explain_probabilities,
    explain_samples,
    page,
)
from crosshead.losses import Hinge, Softmax
from crosshead.models.json_document import plain
from crosshead.scaling import Scaler

WEIGHT = np.array([[1.0, -1.0, 0.5], [0.0, 2.0, -0.5]])
BIAS = np.array([0.25, -0.25])


def model(**options):
    known = {"classes": np.array(["cat", "dog"]), "loss": "softmax", "scaling": Scaler("none", 3)}
    return Model(WEIGHT, BIAS, **{**known, **options})


def test_a_model_and_a_row():
    scaled = model(
        scaling=Scaler("standard", 3, np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 8.0])),
        feature_names=["a", "b", "c"],
        hyperparameters={"alpha": 0.5, "l1_ratio": 0.5},
        training={"objective": 10.0},
    )
    explanation = explain(scaled, [3.0, 6.0, 11.0], "dog")
    assert [line.value for line in explanation.step("scaling").lines] == [1.0, 1.0, 1.0]
    assert explanation.scores == pytest.approx(WEIGHT.sum(axis=1) + BIAS)
    assert explanation.value == pytest.approx(math.log(1 + math.exp(0.75 - 1.25)), rel=1e-12)
    assert (explanation.target, explanation.predicted, explanation.correct) == (1, 1, True)
    assert explanation.verdict.endswith("true dog, predicted dog")
    penalty = 0.5 * (0.5 * 5.0 + 0.25 * 6.5)
    assert explanation.step("penalty").result == pytest.approx(penalty)
    shares = {line.label: line.value for line in explanation.step("objective").lines}
    assert shares["penalty's share in training"] == pytest.approx(penalty / 10)
    assert shares["penalty's share of it"] == pytest.approx(penalty / (penalty + explanation.value))
    assert [step.key for step in explanation.steps] == [
        *("scaling", "scores", "shift", "exponentials", "probabilities", "loss", "gradient", "weight_gradient"),
        *("norms", "penalty", "objective", "alternatives"),
    ]


def test_images_are_flattened_first_and_pixels_have_places():
    weight = np.arange(24.0).reshape(2, 12)
    made = Model(weight, np.zeros(2), np.array([3, 12]), "hinge", scaling=Scaler("maxabs", 12, None, np.array([2.0])))
    made = Model(**{**made.__dict__, "encoding": {"shape": [3, 4]}})
    explanation = explain(made, np.ones(12), "12")
    assert explanation.steps[0].key == "flatten"
    assert explanation.steps[0].lines[0].value == 12
    assert explanation.step("contributions").lines[0].label == "class 12, x[2, 3]"
    assert explanation.step("contributions").lines[0].value == 23 / 2
    assert explanation.step("scores").result == pytest.approx(tuple(weight.sum(axis=1) / 2))


def test_maxabs_and_sparse_standard_scaling():
    for scaler in (Scaler("maxabs", 3, None, np.array([4.0])), Scaler("standard", 3, None, np.array([4.0, 4.0, 4.0]))):
        row = sparse.csr_array(np.array([[4.0, 0.0, 8.0]]))
        explanation = explain(model(scaling=scaler), row, "cat")
        assert [line.value for line in explanation.step("scaling").lines] == [1.0, 0.0, 2.0]


@pytest.mark.parametrize("loss", ["softmax", "hinge", Softmax(label_smoothing=0.1), Hinge(margin=2.0)])
def test_a_fitted_classifier(loss):
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(60, 3)), np.arange(60) % 3
    fitted = LinearClassifier(loss, alpha=0.1).fit(X, y)
    values = [explain(fitted, row, label).value for row, label in zip(X, y, strict=True)]
    penalty = 0.1 / 2 * float((fitted.coef_**2).sum())
    assert np.mean(values) + penalty == pytest.approx(fitted.objective_, rel=1e-9)
    assert explain(fitted, X[0], y[0]).step("penalty").result == pytest.approx(penalty)


def test_one_column_for_two_classes():
    generator = np.random.default_rng(0)
    X, y = generator.normal(size=(40, 3)), np.array(["no", "yes"])[np.arange(40) % 2]
    fitted = LogisticRegression().fit(X, y)
    truth = -fitted.predict_log_proba(X[:1])[0, 1]
    assert explain(fitted, X[0], "yes").value == pytest.approx(truth)


def test_a_row_without_a_label_ends_at_its_scores():
    explanation = explain(model(), [1.0, 2.0, 3.0], None)
    assert explanation.value is None
    assert explanation.steps[-1].key == "norms"
    assert explanation.verdict == "predicted dog"


def test_weights_multiply():
    plainly = explain([1, 2, 3], 0, loss="softmax")
    weighted = explain([1, 2, 3], 0, loss="softmax", sample_weight=2, class_weight={0: 3.0, 1: 7.0})
    assert (weighted.value, weighted.weight) == (plainly.value, 6.0)
    assert weighted.step("weight").result == weighted.weighted == pytest.approx(6 * plainly.value)
    named = explain([1, 2], "cat", classes=["cat", "dog"], class_weight={"dog": 3.0})
    assert named.weight == 1.0
    heavy = explain_linear(WEIGHT, [1, 1, 1], 0, loss="softmax", sample_weight=3)
    light = explain_linear(WEIGHT, [1, 1, 1], 0, loss="softmax")
    assert heavy.step("weight_gradient").result == pytest.approx(3 * light.step("weight_gradient").result)
    samples = explain_samples([[0, 0], [0, 5]], [0, 0], sample_weight=[3, 1], loss="squared_error")
    assert samples.mean == pytest.approx((3 * 1 + 26) / 4)
    assert samples.error == pytest.approx(0.25)
    assert "dot" not in samples.to_text()
    assert "3·1 + 1·26" in samples.to_text()


def test_many_classes_and_features_are_not_dumped():
    generator = np.random.default_rng(1)
    weight, x = generator.normal(size=(300, 500)), generator.normal(size=500)
    explanation = explain_linear(weight, x, 17, loss="softmax")
    assert max(len(step.lines) for step in explanation.steps) <= 12
    assert len(explanation.to_text().splitlines()) < 140
    assert any(line.marked for line in explanation.step("probabilities").lines)
    assert explanation.probabilities.sum() == pytest.approx(1)
    entries = [abs(line.value) for line in explanation.step("weight_gradient").lines[:5]]
    assert entries == pytest.approx(np.sort(np.abs(np.outer(explanation.gradient, x)).ravel())[::-1][:5])


def test_binary_without_any_true_class():
    assert explain([0.0, 0.0], -1, loss="binary").value == pytest.approx(2 * math.log(2))
    with pytest.raises(ValueError, match=r"target -1 is outside 0\.\.1"):
        explain([0.0, 0.0], -1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, math.nan], 0), "number 2 of 2 is nan"),
        (([1.0, math.inf], 0), "must be finite"),
        (([], 0), "must be a row of numbers"),
        (([[1.0, 2.0]], 0), "must be a row of numbers"),
        (([1.0, 2.0], 2), r"target 2 is outside 0\.\.1"),
        (([1.0, 2.0], 0.5), "index or name"),
        (([1.0, 2.0], "cat"), "no class 'cat'; the classes are class 0, class 1"),
        (([1.0, 2.0], [1.0, 0.0, 0.0]), "3 numbers for 2 classes"),
        (([1.0, 2.0], [0.5, 0.5]), "class indices, not rows"),
        (([1.0, 2.0], 0, 1), "takes a model first"),
    ],
)
def test_what_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        explain(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "perceptron"}, "unknown loss 'perceptron'"),
        ({"loss": "softmax", "margin": 2.0}, "no parameter 'margin'"),
        ({"loss": "mse", "margin": 2.0}, "no parameter 'margin'"),
        ({"margin": -1.0}, "margin must be positive"),
        ({"smoothing": 0.5}, "leave it out"),
        ({"base": 2.0}, "hinge is not one"),
        ({"loss": "softmax", "base": 1.0}, "must be above 1"),
        ({"jacobian": True}, "does not use"),
        ({"classes": ["a", "b", "c"]}, "3 class names for 2 scores"),
        ({"sample_weight": -1.0}, "not negative"),
        ({"class_weight": {"z": 1.0}}, "no class 'z'"),
        ({"loss": "softmax", "label_smoothing": 2.0}, "label_smoothing must lie in"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        explain([1.0, 2.0], 0, **options)


def test_more_that_is_refused():
    with pytest.raises(ValueError, match="no class 'bird'; the classes are cat, dog"):
        explain(model(), [1, 2, 3], "bird")
    with pytest.raises(ValueError, match="2 features, but the weights are for 3"):
        explain(model(), [1, 2], "cat")
    with pytest.raises(ValueError, match="with a model, loss, options and classes are those of the model"):
        explain(model(), [1, 2, 3], "cat", loss="hinge")
    with pytest.raises(ValueError, match="class_weight needs one true class"):
        explain([1, 2], [0.5, 0.5], loss="softmax", class_weight={0: 2.0})
    with pytest.raises(ValueError, match="there are no samples"):
        explain_samples([], [])
    with pytest.raises(ValueError, match="2 samples, 1 targets"):
        explain_samples([[1, 2], [3, 4]], [0])
    with pytest.raises(ValueError, match="bias has 1 entries"):
        explain_linear(WEIGHT, [1, 2, 3], bias=[0.0])
    with pytest.raises(ValueError, match="entropy takes no target"):
        explain_probabilities([0.5, 0.5], 0, "entropy")
    with pytest.raises(ValueError, match="mse needs a target"):
        explain_probabilities([0.5, 0.5], None, "mse")
    with pytest.raises(ValueError, match="mse is not one"):
        explain_probabilities([0.5, 0.5], 0, "mse", base=2)
    with pytest.raises(ValueError, match=r"must not be negative, but these contain -0\.5"):
        explain_probabilities([1.5, -0.5], 0)
    with pytest.raises(ValueError, match=r"contain NaN$"):
        explain_probabilities([math.nan, 0.5], 0)
    with pytest.raises(ValueError, match="target probabilities must sum to 1"):
        explain_probabilities([0.5, 0.5], [1, 1])
    with pytest.raises(ValueError, match="unknown loss of probabilities 'hinge'"):
        explain_probabilities([0.5, 0.5], 0, "hinge")
    with pytest.raises(KeyError, match="there are loss, gradient"):
        explain([1, 2], 0).step("softmax")


def test_documents_are_json():
    for explanation in (explain([3.2, 5.1, -1.7], 0), explain_samples([[1, 2], [3, 4]], [0, 1])):
        document = json.loads(json.dumps(plain(explanation.to_dict()), allow_nan=False))
        assert document["loss"] == "hinge"
    assert explain([3.2, 5.1, -1.7], 0).to_dict()["steps"][0]["lines"][0] == {
        "label": "class 1",
        "expression": "max(0, z_j - z_y + margin)",
        "inputs": {"z_j": 5.1, "z_y": 3.2, "margin": 1.0},
        "arithmetic": "max(0, 5.1 − 3.2 + 1)",
        "value": pytest.approx(2.9),
        "note": "within the margin",
        "target": False,
    }


class Strict(HTMLParser):
    """Counts tags, and fails where one is left open or reaches for something outside."""

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.text = [], [], ""

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "img", "iframe")
        assert not {"src", "href", "onclick"} & {name for name, _ in attrs}
        self.seen.append(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_html_is_whole_and_escaped():
    explanation = explain([1.0, 2.0], "<b>&", classes=["<b>&", 'say "x"'], loss="softmax")
    for markup in (explanation.to_html(), page("<title>", explanation), explain_samples([[1, 2]], [0]).to_html()):
        parser = Strict()
        parser.feed(markup.replace("<!doctype html>", ""))
        parser.close()
        assert parser.open == []
        assert "table" in parser.seen
        assert "http" not in markup.replace("http-equiv", "")
    assert "<b>&<" not in explanation.to_html()
    assert "&lt;b&gt;&amp;" in explanation.to_html()
    assert EXPLANATION_CSS not in explanation.to_html(style=False)
    assert "prefers-color-scheme: dark" in EXPLANATION_CSS


def test_what_a_notebook_shows():
    explanation = explain([3.2, 5.1, -1.7], 0)
    assert repr(explanation) == "<Explanation: hinge 2.9, true class 0, predicted class 1 (wrong); 3 steps>"
    assert str(explanation) == explanation.to_text()
    assert explanation._repr_html_() == explanation.to_html()
    assert repr(explain_samples([[1, 2], [3, 9]], [0, 1])) == "<SampleExplanations: 2 samples, mean 1, sum 2>"
