"""The commands, one package each: `__init__` has the options and the help, `run` does the work, `show` prints."""
