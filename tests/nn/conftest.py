from importlib.util import find_spec

import pytest

collect_ignore_glob = ["*/triton_compilation.py"]  # a program that a test starts, where Triton is installed
if not find_spec("torch"):
    collect_ignore_glob += ["test_*", "*/test_*"]


@pytest.fixture(autouse=True)
def _seeded():
    import torch

    torch.manual_seed(0)
