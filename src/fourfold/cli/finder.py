"""Finds the commands by looking into the folder, without importing any of them."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

from fourfold.cli.frame import Command

COMMANDS = Path(__file__).parent / "commands"


def found(folder: Path = COMMANDS) -> dict[tuple[str, ...], Path]:
    """Every command's name as words, e.g. ("bench", "rasterizer"), with its file, in alphabetical order."""
    files = sorted(path for path in folder.rglob("*.py") if path.name != "__init__.py" and not path.name.startswith("_"))
    return {tuple(part.replace("_", "-") for part in path.relative_to(folder).with_suffix("").parts): path for path in files}


def summary(path: Path) -> str:
    """The first line of a file's docstring; that of a folder is in its `__init__.py`."""
    file = path / "__init__.py" if path.is_dir() else path
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def command_class(words: tuple[str, ...]) -> type[Command]:
    """The `Command` that the file of `words` defines, imported now."""
    module = import_module(".".join(["fourfold.cli.commands", *(word.replace("-", "_") for word in words)]))
    mine = [item for item in vars(module).values() if isinstance(item, type) and issubclass(item, Command) and item.__module__ == module.__name__]
    if len(mine) != 1:
        raise TypeError(f"{module.__name__} defines {len(mine)} commands, expected one")
    return mine[0]


def resolve(argv: list[str]) -> tuple[tuple[str, ...], list[str]]:
    """Split `argv` into the words of a command, or of a group, and the rest; no words where the first one names neither."""
    commands = found()
    words: tuple[str, ...] = ()
    while len(words) < len(argv):
        longer = (*words, argv[len(words)])
        if not any(name[: len(longer)] == longer for name in commands):
            break
        words = longer
    return words, argv[len(words) :]


def overview(group: tuple[str, ...] = ()) -> str:
    """The help text of `fourfold` itself, or of a group of commands."""
    rows: dict[str, str] = {}
    for name, path in found().items():
        if name[: len(group)] == group:
            nested = len(name) > len(group) + 1
            rows.setdefault(name[len(group)], summary(path.parent if nested else path))
    width = max(len(name) for name in rows)
    program = " ".join(["fourfold", *group])
    head = summary(COMMANDS.joinpath(*group)) if group else "Fourfold turns video of a moving scene into a 4D Gaussian scene."
    lines = [f"usage: {program} COMMAND [OPTIONS]", "", head, "", "commands:", *(f"  {name:<{width}}  {text}" for name, text in rows.items())]
    return "\n".join([*lines, "", f"`{program} COMMAND --help` tells a command's options."])
