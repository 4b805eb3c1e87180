from importlib.util import find_spec

collect_ignore_glob = ["cases.py", "worker.py", *([] if find_spec("torch") else ["test_*"])]
