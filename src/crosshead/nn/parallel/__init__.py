"""The classes of a head spread over processes: each holds some rows of W, and the states of its classes merge.

Importing this package also lets the functions of `crosshead.nn.functional` take a weight that is a `Shard(0)` DTensor.
"""

from __future__ import annotations

from crosshead.nn.fused.sharding import SHARDED
from crosshead.nn.parallel.head import ClassParallelHead
from crosshead.nn.parallel.loss import sharded_loss
from crosshead.nn.parallel.prediction import best_classes_of_shards

SHARDED.register(sharded_loss, best_classes_of_shards)

__all__ = ["ClassParallelHead"]
