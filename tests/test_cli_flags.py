"""The list of commands and options is a promise to users: a change of it is a change of `cli_flags.txt`, seen in review.

After a wanted change: `python tests/test_cli_flags.py > tests/cli_flags.txt`.
"""

from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from tyro.conf import Positional

from fourfold.cli.finder import command_class, found

SNAPSHOT = Path(__file__).with_name("cli_flags.txt")


def _flag(field: Field[Any], hint: Any) -> str:
    metadata = get_args(hint)[1:]
    if any(marker in get_args(Positional[int])[1:] for marker in metadata):
        return field.name.upper()
    aliases = [alias for item in metadata for alias in getattr(item, "aliases", None) or ()]
    default = "" if field.default is MISSING else f"={field.default}"
    return "/".join([f"--{field.name.replace('_', '-')}", *aliases]) + default


def flags() -> str:
    """One line per command: its positional arguments and options with their defaults."""
    lines: list[str] = []
    for words in sorted(found()):
        command = command_class(words)
        hints = get_type_hints(command, include_extras=True)
        options = sorted((_flag(field, hints[field.name]) for field in fields(command)), key=lambda text: (text.startswith("-"), text))
        lines.append(f"{' '.join(words)}: {' '.join(options)}")
    return "\n".join(lines) + "\n"


def test_commands_and_options_are_those_promised():
    assert flags() == SNAPSHOT.read_text(encoding="utf-8")


if __name__ == "__main__":
    print(flags(), end="")
