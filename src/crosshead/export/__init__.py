"""Export models to ONNX, checked against crosshead's own predictions."""

from crosshead.export.check import Check, check_export
from crosshead.export.graph import build_onnx

__all__ = ["Check", "build_onnx", "check_export"]
