"""One command in several processes of this machine that train together: starts them, stops them together, and tells which one failed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from fourfold.errors import FourfoldError
from fourfold.interruption import CHILD, Interrupted, child

SETTLING = 1.0  # seconds after the first failure in which others may show that theirs came before
OURS = "fourfold: "


class _Rank:
    """One of the processes: the number `rank` of them, its output, and the sentence that it ended with."""

    def __init__(self, rank: int, process: subprocess.Popen[str]) -> None:
        self.rank, self.process, self.out, self.sentence = rank, process, "", ""
        assert process.stdout is not None and process.stderr is not None
        self._readers = [
            threading.Thread(target=self._keep, args=(process.stdout,), daemon=True),
            threading.Thread(target=self._pass_on, args=(process.stderr,), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def settled(self) -> None:
        """Wait until all of the output of the ended process is read."""
        for reader in self._readers:
            reader.join()

    def _keep(self, pipe: IO[str]) -> None:
        self.out = pipe.read()

    def _pass_on(self, pipe: IO[str]) -> None:
        """Of the first one everything is shown but its last word, of the others nothing: they say the same."""
        for line in pipe:
            if line.startswith(OURS):
                self.sentence = line.strip().removeprefix(OURS).removeprefix("error: ")
            elif self.rank == 0:
                print(line, end="", file=sys.stderr, flush=True)


def run_ranks(words: Sequence[str], processes: int) -> dict[str, Any]:
    """Run `fourfold WORDS --json` in `processes` processes that meet by torchrun's variables. Returns the first one's result.

    Raises:
        FourfoldError: one of them failed; the others were ended.
        Interrupted: as here, so there: all have been asked to stop, and have.
    """
    with _ranks(words, processes) as ranks:
        try:
            while any(rank.process.poll() is None for rank in ranks):
                if any(rank.process.returncode for rank in ranks):
                    break
                time.sleep(0.05)
        except Interrupted as stop:
            for rank in ranks:
                rank.process.send_signal(stop.number)
            for rank in ranks:
                rank.process.wait()
            raise
        if any(rank.process.poll() != 0 for rank in ranks):
            raise FourfoldError(_cause(ranks))
        ranks[0].settled()
        return dict(json.loads(ranks[0].out))


@contextmanager
def _ranks(words: Sequence[str], processes: int) -> Iterator[list[_Rank]]:
    with socket.socket() as probe:  # a port that is free now
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = [sys.executable, "-c", CHILD, *words, "--json"]
    with ExitStack() as stack:
        yield [_Rank(r, stack.enter_context(child(command, os.environ | place | {"RANK": str(r), "LOCAL_RANK": str(r)}))) for r in range(processes)]


def _cause(ranks: Sequence[_Rank]) -> str:
    """The sentence of the one that failed first: one that was killed rather than one that missed it."""
    deadline = time.monotonic() + SETTLING
    while any(rank.process.poll() is None for rank in ranks) and time.monotonic() < deadline:
        time.sleep(0.02)
    failed = sorted((rank for rank in ranks if rank.process.returncode), key=lambda rank: rank.process.returncode)
    code, who = failed[0].process.returncode, f"process {failed[0].rank + 1} of the {len(ranks)} that trained together"
    if code in (128 + signal.SIGINT, 128 + signal.SIGTERM):
        code = 128 - code
    if code < 0:
        return f"{who} was ended by {signal.Signals(-code).name}, and so were the others: the same command again continues from the last checkpoint"
    failed[0].settled()
    return failed[0].sentence or f"{who} ended with code {code}, and so the others were ended"
