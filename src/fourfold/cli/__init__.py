"""The command line: a thin shell around the package, one file per command in `commands/`."""

from fourfold.cli.program import entry, main

__all__ = ["entry", "main"]
