"""The solvers that are compared, ours and others', each behind the same small class."""

from __future__ import annotations

from peers import adelie, crosshead, cyanure, liblinear, scikit_learn, scikit_learn_intelex, torch
from peers.base import Cannot, Peer, Solution

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        crosshead.Crosshead(),
        scikit_learn.LBFGS(),
        scikit_learn.LBFGS("float32"),
        scikit_learn.NewtonCholesky(),
        scikit_learn.Saga(),
        scikit_learn.LinearSVC(),
        scikit_learn_intelex.LBFGS(),
        scikit_learn_intelex.LBFGS("float64"),
        cyanure.Cyanure(),
        cyanure.Cyanure("float64"),
        torch.LBFGS(),
        torch.LBFGS("float64"),
        adelie.Adelie(),
        liblinear.Primal(),
        liblinear.Dual(),
    )
}
REFERENCE: Peer = crosshead.Reference()


def peer_named(name: str) -> Peer:
    """A competitor, or the reference."""
    return REFERENCE if name == REFERENCE.name else PEERS[name]


__all__ = ["PEERS", "REFERENCE", "Cannot", "Peer", "Solution", "peer_named"]
