"""What can be wrong with data, or with learning on them, before any long training."""

from crosshead.diagnostics.diagnosis import Diagnosis, check
from crosshead.diagnostics.finding import Finding

__all__ = ["Diagnosis", "Finding", "check"]
