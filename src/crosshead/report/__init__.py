"""Plots and HTML reports of results. They take arrays and results, independent of how a model was trained.

`report_on_model` and `report_on_predictions` collect the contents of a report, `render` creates the page.
"""

from crosshead.report.displays.confusion import ConfusionDisplay
from crosshead.report.displays.decision_regions import DecisionRegionsDisplay
from crosshead.report.displays.loss_curves import LossCurveDisplay
from crosshead.report.displays.loss_functions import LossFunctionDisplay
from crosshead.report.displays.loss_surface import LossSurfaceDisplay
from crosshead.report.displays.path import PathDisplay
from crosshead.report.displays.reliability import ReliabilityDisplay
from crosshead.report.displays.roc import RocDisplay
from crosshead.report.displays.templates import ClassTemplateDisplay
from crosshead.report.page.build import Settings, Wording, report_on_model, report_on_predictions
from crosshead.report.page.contents import Contents, Training
from crosshead.report.page.render import render

__all__ = [
    "ClassTemplateDisplay",
    "ConfusionDisplay",
    "Contents",
    "DecisionRegionsDisplay",
    "LossCurveDisplay",
    "LossFunctionDisplay",
    "LossSurfaceDisplay",
    "PathDisplay",
    "ReliabilityDisplay",
    "RocDisplay",
    "Settings",
    "Training",
    "Wording",
    "render",
    "report_on_model",
    "report_on_predictions",
]
