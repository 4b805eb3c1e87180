"""Pictures and pages of results: they take arrays and results, and know nothing of how a model was trained.

`report_on_model` and `report_on_predictions` gather what a page shows, `render` makes the page.
"""

from crosshead.report.building import Settings, Wording, report_on_model, report_on_predictions
from crosshead.report.confusion_plot import ConfusionDisplay
from crosshead.report.contents import Contents, Training
from crosshead.report.decision_regions import DecisionRegionsDisplay
from crosshead.report.loss_curves import LossCurveDisplay
from crosshead.report.loss_functions import LossFunctionDisplay
from crosshead.report.loss_surface import LossSurfaceDisplay
from crosshead.report.page import render
from crosshead.report.path_plot import PathDisplay
from crosshead.report.reliability_plot import ReliabilityDisplay
from crosshead.report.roc_plot import RocDisplay
from crosshead.report.template_plot import ClassTemplateDisplay

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
