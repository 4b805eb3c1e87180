"""Errors that reach all processes: none waits for a process that has refused its batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from crosshead.nn.parallel.processes import Processes


class Agreement:
    """Whether every process of a step has accepted its batch; they exchange this once a step."""

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes, self.device = processes, device
        self.reached = False

    def reach(self, accepted: bool) -> None:
        """Exchange whether the batch is accepted; RuntimeError if this process has accepted and another has not."""
        self.reached = True
        answers = self.processes.gather_integers([accepted], self.device)
        refused = [rank for rank, (answer,) in enumerate(answers) if not answer]
        if accepted and refused:
            raise RuntimeError(
                f"rank {', '.join(map(str, refused))} refused its batch, so no rank can continue: its own error "
                "says why"
            )


_STEP: ContextVar[Agreement | None] = ContextVar("crosshead_step", default=None)


@contextmanager
def one_step(processes: Processes, device: torch.device) -> Iterator[None]:
    """A context in which an error before `accept` is called raises on all processes."""
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
    """Report that the batch of this process has passed its checks; called before anything is exchanged."""
    agreement = _STEP.get()
    if agreement is not None and not agreement.reached:
        agreement.reach(True)
