"""One process's mistake is everyone's: none waits for a process that has refused its batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from crosshead.nn.parallel.processes import Processes


class Agreement:
    """Whether every process of a step has accepted its batch, which they ask one another once."""

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes, self.device = processes, device
        self.reached = False

    def reach(self, accepted: bool) -> None:
        """Tell the others and hear them; RuntimeError where this process has accepted and another has not."""
        self.reached = True
        answers = self.processes.numbers([accepted], self.device)
        refused = [rank for rank, (answer,) in enumerate(answers) if not answer]
        if accepted and refused:
            raise RuntimeError(
                f"rank {', '.join(map(str, refused))} refused its batch, so that no rank can go on: its own error "
                "says why"
            )


_STEP: ContextVar[Agreement | None] = ContextVar("crosshead_step", default=None)


@contextmanager
def one_step(processes: Processes, device: torch.device) -> Iterator[None]:
    """What raises in here before `accept` is called raises on all processes."""
    agreement = Agreement(processes, device)
    token = _STEP.set(agreement)
    try:
        yield
    except Exception:
        if not agreement.reached:
            agreement.reach(False)
        raise
    finally:
        _STEP.reset(token)


def accept() -> None:
    """Say that the batch here has passed its checks; to be called before anything is exchanged."""
    agreement = _STEP.get()
    if agreement is not None and not agreement.reached:
        agreement.reach(True)
