"""The result of one check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PASSED, WARNING, FAILED_CHECK = "passed", "warning", "failed"


@dataclass(frozen=True)
class Finding:
    """A check and its result.

    * ``key``: identifier; ``title``: display name
    * ``status``: "passed", "warning" or "failed"
    * ``found``: the observation, as text with numbers
    * ``meaning``, ``advice``: what a failed check means, and what to do
    * ``numbers``: the observation, for programs
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
