"""Softmax loss of a row, over tiles of classes."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import final

import torch
from torch import Tensor

from crosshead.nn.row_losses.protocol import Merge, Targets, Tile, finite_shift


@final
@dataclass(frozen=True)
class Softmax:
    """Cross-entropy between a target distribution and softmax(z), in nats.

    ℓ = A·(L + ζ·L²) − Σ_c q_c w_c z_c with L = log Σ_c exp z_c and A = Σ_c q_c w_c, where q = (1 − ε)·y + ε/C, ε is
    ``label_smoothing``, C the number of classes of all shards, w are class weights and ζ is ``z_loss``. Without class
    weights A = 1. A ``softcap`` κ > 0 replaces every score by κ·tanh(z/κ) first; 0 means none.

    The state is (max z, Σ exp(z − max z), Σ q w z, A). If ``lse_output`` is 1, L is a second output.

    Sources: Szegedy et al., CVPR 2016 (label smoothing); Chowdhery et al., Journal of Machine Learning Research 24,
    2023 (z-loss); Gemma Team, arXiv:2408.00118 (soft cap).
    """

    label_smoothing: float = 0.0
    softcap: float = 0.0
    z_loss: float = 0.0
    lse_output: float = 0.0

    @property
    def kernel(self) -> tuple[str, tuple[float, ...]]:
        """The registry's key and the parameters, in the order of the fields."""
        return "softmax", astuple(self)

    @property
    def fields(self) -> tuple[Merge, ...]:
        """Largest score, sum of exponentials below it, weighted scores, their weights."""
        return Merge.MAX, Merge.SUM_AT_MAX, Merge.SUM, Merge.SUM

    @property
    def outputs(self) -> int:
        """The loss, and the log-sum-exp if asked for."""
        return 2 if self.lse_output else 1

    @property
    def needs_target_score(self) -> bool:
        """Never: its tile has it."""
        return False

    def tile_state(self, scores: Tensor, tile: Tile) -> Tensor:
        """(max z, Σ exp(z − max z), Σ q w z, Σ q w) over the tile, (4, N)."""
        z = self._capped(scores)
        largest = z.amax(dim=1)
        power = torch.exp(z - finite_shift(largest)[:, None]).sum(dim=1)
        weighted, mass = self._target_sums(z, tile)
        return torch.stack([largest, power, weighted, mass])

    def value(self, state: Tensor, targets: Targets, target_score: Tensor | None) -> Tensor:
        """The loss in nats (and the log-sum-exp), (1 or 2, N)."""
        largest, power, weighted, mass = state.unbind()
        log_power = torch.log(power)
        lse = largest + log_power
        # The two large numbers are subtracted first, because they cancel.
        loss = (mass * largest - weighted) + mass * log_power
        if self.z_loss:
            loss = loss + self.z_loss * mass * lse.square()
        return torch.stack([loss, lse]) if self.lse_output else loss[None]

    def score_gradient(self, scores: Tensor, state: Tensor, tile: Tile, upstream: Tensor) -> Tensor:
        """g·(A·(1 + 2ζL)·softmax(z) − q·w), (N, T); log-sum-exp and soft cap by the chain rule."""
        largest, power, _, mass = state.unbind()
        z = self._capped(scores)
        share = upstream[0] * mass
        if self.z_loss:
            share = share * (1 + 2 * self.z_loss * (largest + torch.log(power)))
        if self.lse_output:
            share = share + upstream[1]
        gradient = torch.exp(z - finite_shift(largest)[:, None]).mul_((share / power)[:, None])
        self._subtract_target(gradient, tile, upstream[0])
        if self.softcap:
            gradient *= 1 - (z / self.softcap).square()
        return gradient

    def _capped(self, scores: Tensor) -> Tensor:
        return torch.tanh(scores / self.softcap) * self.softcap if self.softcap else scores

    def _target_sums(self, z: Tensor, tile: Tile) -> tuple[Tensor, Tensor]:
        """Σ q w z and Σ q w over the tile, each (N,)."""
        weight = tile.class_weight(z)
        if not tile.has_index:
            q = self._target_weights(tile, z, weight)
            return (q * z).sum(dim=1), q.sum(dim=1)
        keep = 1 - self.label_smoothing
        own = tile.inside.to(z.dtype)
        if weight is not None:
            own = own * weight[tile.column[:, 0]]
        weighted, mass = keep * own * tile.at_target(z), keep * own
        if self.label_smoothing:
            each = self.label_smoothing / tile.targets.classes
            weighted = weighted + each * (z.sum(dim=1) if weight is None else z @ weight)
            mass = mass + each * (tile.size if weight is None else weight.sum())
        return weighted, mass

    def _subtract_target(self, gradient: Tensor, tile: Tile, upstream: Tensor) -> None:
        """Subtract g·q·w in place."""
        weight = tile.class_weight(gradient)
        if not tile.has_index:
            gradient -= self._target_weights(tile, gradient, weight).mul_(upstream[:, None])
            return
        own = upstream * (self.label_smoothing - 1)
        tile.add_at_target(gradient, own if weight is None else own * weight[tile.column[:, 0]])
        if self.label_smoothing:
            each = upstream[:, None] * (self.label_smoothing / tile.targets.classes)
            gradient -= each if weight is None else each * weight

    def _target_weights(self, tile: Tile, like: Tensor, weight: Tensor | None) -> Tensor:
        """q·w of a tile of probabilities, (N, T), a new tensor."""
        q = tile.dense(like) * (1 - self.label_smoothing)
        q += self.label_smoothing / tile.targets.classes
        return q if weight is None else q.mul_(weight)
