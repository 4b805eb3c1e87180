from importlib.util import find_spec

import pytest

collect_ignore_glob = [] if find_spec("torch") else ["test_*"]


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
