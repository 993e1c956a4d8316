"""Runs one command: parses, runs, prints, and turns every outcome into an exit code.

Exit codes: 0 good, 1 a bad result or a fault of ours, 2 a mistake in the input or the command line, 130 and 143 stopped by SIGINT and SIGTERM.
"""

from __future__ import annotations

import errno
import io
import os
import re
import signal
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout

from fourfold.cli.finder import command_class, found, overview, resolve
from fourfold.cli.frame import Command, dump
from fourfold.errors import FourfoldError
from fourfold.files import asked_for, disk_is_full, no_space
from fourfold.interruption import Interrupted, stop_on_signals
from fourfold.room import SMALLER, out_of_memory

GOOD, BAD, MISTAKE = 0, 1, 2
STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)
_CHECK = "check its permissions or give another path"
_MISTAKES = {
    errno.ENOENT: "check the path",
    errno.EISDIR: "give a file",
    errno.ENOTDIR: "give a path whose parents are folders",
    errno.EEXIST: "give another path",
    errno.EACCES: _CHECK,
    errno.EPERM: _CHECK,
    errno.EROFS: "give a path on a disk that can be written",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "its links go round: give the path of what they should lead to",
}
"""What a path can be wrong by, and what to do."""


def entry() -> None:
    """The `fourfold` program. Stopped by a signal it leaves at once: the interpreter's farewell waits for threads that still compute."""
    try:
        code = main()
        if code in STOPPED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        for number in (signal.SIGINT, signal.SIGTERM):  # all is done and said: while the interpreter ends, nothing is left to stop
            signal.signal(number, signal.SIG_IGN)
        sys.exit(code)
    except BrokenPipeError:  # the reader of our output has gone, e.g. `fourfold inspect x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(GOOD)


def main(argv: list[str] | None = None) -> int:
    """Run the command `argv` (default: that of the process) and return its exit code. Never raises on bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    words, rest = resolve(arguments)
    if not words and rest[:1] == ["--version"]:
        from fourfold import __version__

        print(f"fourfold {__version__}")
        return GOOD
    as_json = "--json" in arguments
    try:
        with stop_on_signals():
            command = _parse(words, rest)
            return command if isinstance(command, int) else _run(command)
    except FourfoldError as error:
        return _fail(f"error: {error}", MISTAKE, as_json)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        if error.errno in _MISTAKES:
            return _fail(f"error: {asked_for(error)}: {error.strerror or error}: {_MISTAKES[error.errno]}", MISTAKE, as_json)
        return _unexpected(error, as_json)
    except KeyboardInterrupt as error:
        number = error.number if isinstance(error, Interrupted) else signal.SIGINT
        return _fail("interrupted: the same command again continues where it can", 128 + number, as_json)
    except Exception as error:
        return _unexpected(error, as_json)


def _unexpected(error: Exception, as_json: bool) -> int:
    if out_of_memory(error):
        return _fail(f"error: memory did not suffice ({str(error).splitlines()[0] if str(error) else 'it was refused'}): {SMALLER}", MISTAKE, as_json)
    if disk_is_full(error):
        where = f" while writing {asked_for(error)}" if isinstance(error, OSError) and error.filename else ""
        return _fail(f"error: {no_space(where)}", MISTAKE, as_json)
    traceback.print_exc()
    return _fail(f"internal error: {type(error).__name__}: {error}", BAD, as_json)


def _parse(words: tuple[str, ...], rest: list[str]) -> Command | int:
    """The command that was asked for, or the exit code where help or a complaint was printed instead."""
    if words not in found():
        asked_for_help = rest[:1] in ([], ["-h"], ["--help"])
        if asked_for_help:
            print(overview(words), file=sys.stdout if rest else sys.stderr)
            return GOOD if rest else MISTAKE
        program = " ".join(["fourfold", *words])
        raise FourfoldError(f"`{program}` has no command {rest[0]!r}: `{program} --help` lists them")
    import tyro

    program, complaint = " ".join(["fourfold", *words]), io.StringIO()
    try:
        with redirect_stderr(complaint):
            return tyro.cli(command_class(words), prog=program, args=rest, config=(tyro.conf.FlagCreatePairsOff,))
    except SystemExit as stop:  # tyro has printed its help on stdout (0), or on stderr what it did not understand (2)
        if stop.code in (GOOD, None):
            return GOOD
        raise FourfoldError(f"{_sentence(complaint.getvalue())}; `{program} --help` lists the options") from None


def _sentence(box: str) -> str:
    """What the first paragraph of a framed complaint says, on one line, without a full stop, and its beginning where it is long."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip().strip("│|").strip() for line in box.splitlines()]
    inner = [line for line in lines if line and not line.startswith(("╭", "╰", "+-"))]
    rule = next((number for number, line in enumerate(inner) if set(line) <= set("─-")), len(inner))
    return textwrap.shorten(" ".join(inner[:rule]).rstrip("."), 240, placeholder=" ...") or "the command line was not understood"


def _run(command: Command) -> int:
    if command.json:
        with _stdout_to_stderr():
            result = command.run()
            text = dump(result.value)
        print(text, flush=True)
    else:
        result = command.run()
        command.show(result)
    return GOOD if result.ok else BAD


def _fail(sentence: str, code: int, as_json: bool) -> int:
    print(f"fourfold: {sentence}", file=sys.stderr)
    if as_json:
        print(dump({"error": sentence.partition("error: ")[2] or sentence}), flush=True)
    return code


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """Send everything written to stdout to stderr, also what native libraries write past Python."""
    sys.stdout.flush()
    with redirect_stdout(sys.stderr):
        try:
            kept = os.dup(1)
        except OSError:  # the process has no stdout at all
            yield
            return
        try:
            os.dup2(2, 1)
            yield
        finally:
            os.dup2(kept, 1)
            os.close(kept)
