"""The README.md of a model folder: the content of `model.json` in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from crosshead.escaping import for_markdown

MAX_CLASSES = 20


def model_card(document: Mapping[str, Any]) -> str:
    """Create a short model card from the document saved as `model.json`.

    Examples
    --------
    >>> print(model_card({"loss": {"name": "softmax", "parameters": {}}, "n_features": 2,
    ...                   "classes": {"type": "str", "values": ["no", "yes"]}}).splitlines()[0])
    # A linear classifier of 2 classes
    """
    classes = document["classes"]["values"]
    sections = [
        f"# A linear classifier of {len(classes)} classes",
        "The scores of a row of features x are W x + b, one per class; the class with the largest score is the "
        "prediction. Trained with crosshead; `model.safetensors` has W and b, `model.json` everything else.",
        _table("Model", _model_rows(document)),
        _table("Training", _training_rows(document)),
        _calibration(document),
        f"## Classes\n\nIn the order of the scores: {_class_list(classes)}",
        "## Use\n\n```python\nfrom crosshead.models import Model\n\n"
        'model = Model.load("path/to/this/folder")\n```\n\n'
        "The folder is validated when it is loaded; a truncated or altered file is rejected.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _model_rows(document: Mapping[str, Any]) -> dict[str, Any]:
    loss = document["loss"]
    rows: dict[str, Any] = {"loss": loss["name"]}
    rows |= {f"loss: {name}": value for name, value in loss["parameters"].items()}
    rows["features"] = document["n_features"]
    rows["scaling"] = document.get("scaling", {}).get("kind", "none")
    rows["read as"] = document.get("encoding", {}).get("kind", "not recorded")
    backbone = document.get("encoding", {}).get("backbone")
    if backbone is not None:
        rows |= {"backbone": backbone["name"], "backbone (SHA-256)": backbone["fingerprint"]}
        rows["pre-processing"] = backbone["preprocessing"]
        if "network" in backbone:
            rows["network"] = backbone["network"]
    said = dict(document.get("hyperparameters", {}))
    trained = said.pop("network", None)
    return rows | said | ({} if trained is None else {"training of the network": trained})


def _training_rows(document: Mapping[str, Any]) -> dict[str, Any]:
    rows = {name: value for name, value in document.get("training", {}).items() if name not in ("history", "network")}
    if document.get("fingerprint"):
        rows["training data (SHA-256)"] = document["fingerprint"]
    rows["crosshead"] = document.get("crosshead_version", "not recorded")
    return rows


def _calibration(document: Mapping[str, Any]) -> str:
    if "temperature" not in document:
        return ""
    text = "Probabilities are softmax((W x + b) / T), with the temperature T fitted by `crosshead calibrate`."
    rows = {"temperature": document["temperature"], **document.get("calibration", {})}
    return f"{_table('Calibration', rows)}\n\n{text}"


def _table(title: str, rows: Mapping[str, Any]) -> str:
    if not rows:
        return ""
    lines = [f"| {_cell(name)} | {_cell(value)} |" for name, value in rows.items()]
    return "\n".join([f"## {title}\n", "| | |", "|---|---|", *lines])


def _cell(value: Any) -> str:
    """Format numbers unchanged; text, and values with text, as code."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return for_markdown(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), in_table=True)


def _class_list(classes: list[Any]) -> str:
    shown = ", ".join(for_markdown(str(label)) for label in classes[:MAX_CLASSES])
    more = len(classes) - MAX_CLASSES
    return shown if more <= 0 else f"{shown} and {more} more, listed in `model.json`"
