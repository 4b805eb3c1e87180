"""The command line: one package a command, each importing what it needs only when it runs."""
