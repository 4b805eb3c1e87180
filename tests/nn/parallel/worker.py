"""One process of a world: runs every case, and writes down what went wrong."""

from __future__ import annotations

import json
import sys
import traceback
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

sys.path.insert(0, str(Path(__file__).parent))

import cases


def main(rank: int, size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder / f'meeting-of-{size}'}",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=60),
    )
    found = dict(cases.all_cases(size, folder))
    said: dict[str, str | None] = dict.fromkeys(found)
    file = folder / f"rank{rank}-of-{size}.json"
    for name, case in found.items():
        torch.manual_seed(0)
        said[name] = ""
        try:
            case()
        except Exception:
            said[name] = traceback.format_exc()
        file.write_text(json.dumps(said), encoding="utf-8")
        if not everyone_passed(not said[name]):
            break  # the processes may no longer be at the same exchange
    dist.destroy_process_group()


def everyone_passed(passed: bool) -> bool:
    found = torch.tensor([int(passed)])
    dist.all_reduce(found, op=dist.ReduceOp.MIN)
    return bool(found.item())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
