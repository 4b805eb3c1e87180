"""Export models to ONNX, checked against crosshead's own predictions."""

from crosshead.export.check import Check, check_export
from crosshead.export.graph import build_onnx
from crosshead.export.verification import verify_export

__all__ = ["Check", "build_onnx", "check_export", "verify_export"]
