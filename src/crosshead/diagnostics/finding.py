"""What one check found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASSED, WARNING, FAILED_CHECK = "passed", "warning", "failed"


@dataclass(frozen=True)
class Finding:
    """A check and its outcome.

    * ``key``: its name for programs; ``title``: for people
    * ``status``: "passed", "warning" or "failed"
    * ``found``: what was seen, in words with numbers
    * ``meaning``, ``advice``: what it means that the check did not pass, and what to do
    * ``numbers``: what was seen, for programs
    """

    key: str
    title: str
    status: str
    found: str
    meaning: str
    advice: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """A JSON document."""
        return {
            "check": self.key,
            "title": self.title,
            "status": self.status,
            "found": self.found,
            "meaning": self.meaning,
            "advice": self.advice,
            "numbers": dict(self.numbers),
        }
