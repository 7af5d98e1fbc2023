"""The command `introspection`: the one room of the library that knows a command line.

Each command reads its options, calls the library and shows what came of it; what it needs is imported when it runs.
"""

from introspection.command.main import main

__all__ = ["main"]
