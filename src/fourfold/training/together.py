"""Several processes that train one scene together: each takes its share of the joined batch, and all take the same steps.

Step s of N processes has the batches of steps s N ... s N + N - 1 of one process, joined; process r draws the r-th of them. Losses are means
over the batch, so the mean of the processes' gradients is the gradient of the joined batch. Everything that is decided from what was
drawn (which rows move, where density grows, whether a step counts) is summed over the processes before it is decided; random numbers come
from generators that all seed alike. So all hold the same scene after every step, and the first alone writes it down.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Protocol

import torch
from torch import Tensor, distributed

from fourfold.density.base import GrowthStatistics
from fourfold.errors import FourfoldError
from fourfold.interruption import pending_signal, stop_later, unbroken
from fourfold.losses.base import Sample
from fourfold.render import cpu

PATIENCE = timedelta(hours=24)  # one may estimate priors for long while the others wait; one that is gone is noticed at once
SUMMED = tuple(f.name for f in fields(GrowthStatistics) if f.name != "radius")
VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # as torchrun sets them


@dataclass(frozen=True)
class Share:
    """Which batches a process draws: `mine` of the `joined` ones that make the batch of a step."""

    mine: tuple[int, ...] = (0,)
    joined: int = 1


class Together(Protocol):
    """What training asks of the processes that take part; between two calls of one all others have made the same call.

    Attributes:
        share: what this process draws; first: whether it is the one that writes.
    """

    share: Share
    first: bool

    def turns(self, batch: list[Sample]) -> list[list[Sample]]:
        """What is rendered at a time: the whole batch, but for a process that does the work of several, one share after the other."""
        ...

    def wait(self) -> None:
        """Until all are here."""
        ...

    def agreed(self, number: int) -> int:
        """The first one's `number`."""
        ...

    def all(self, good: bool) -> bool:
        """Whether it is true of all."""
        ...

    def check_same(self, what: str, checksum: Callable[[], int]) -> None:
        """FourfoldError if the checksum of `what` differs between them."""
        ...

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        """Losses by name, as means over all."""
        ...

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace the gradients of `tensors` by their means over all; one that is nobody's stays None."""
        ...

    def any_row(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """Layer name -> (N,) bool, true where it is so for one of them."""
        ...

    def summed(self, value: Tensor) -> Tensor:
        """The sum over all."""
        ...

    def growing(self, kept: GrowthStatistics) -> AbstractContextManager[GrowthStatistics]:
        """Statistics to add to in the block; after it `kept` has what all have added."""
        ...

    def steps(self) -> AbstractContextManager[None]:
        """Around a loop of steps: a signal to one of them stops all after the same step."""
        ...

    def stopping(self) -> bool:
        """Within `steps`, after a step: whether to leave the loop because of a signal."""
        ...


class Alone:
    """One process: nothing is exchanged."""

    share, first = Share(), True

    def turns(self, batch: list[Sample]) -> list[list[Sample]]:
        return [batch]

    def wait(self) -> None: ...

    def agreed(self, number: int) -> int:
        return number

    def all(self, good: bool) -> bool:
        return good

    def check_same(self, what: str, checksum: Callable[[], int]) -> None: ...

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        return losses

    def average(self, tensors: Sequence[Tensor]) -> None: ...

    def any_row(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        return rows

    def summed(self, value: Tensor) -> Tensor:
        return value

    def growing(self, kept: GrowthStatistics) -> AbstractContextManager[GrowthStatistics]:
        return nullcontext(kept)

    def steps(self) -> AbstractContextManager[None]:
        return nullcontext()

    def stopping(self) -> bool:
        return False


ALONE = Alone()


class InTurn(Alone):
    """One process that does the work of `processes`, one share after the other: what they give together, to the bit where they are two."""

    def __init__(self, processes: int) -> None:
        self.share = Share(tuple(range(processes)), processes)

    def turns(self, batch: list[Sample]) -> list[list[Sample]]:
        each = len(batch) // self.share.joined
        return [batch[at : at + each] for at in range(0, len(batch), each)]

    def average(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            if tensor.grad is not None:
                tensor.grad /= self.share.joined

    @contextmanager
    def growing(self, kept: GrowthStatistics) -> Iterator[GrowthStatistics]:
        mine = GrowthStatistics.zeros(len(kept.count), kept.count.device)
        yield mine
        for name in SUMMED:
            getattr(kept, name).add_(getattr(mine, name))
        kept.radius.copy_(torch.maximum(kept.radius, mine.radius))


class Many:
    """The processes of a `torch.distributed` group."""

    def __init__(self) -> None:
        rank, self.processes = distributed.get_rank(), distributed.get_world_size()
        self.share, self.first = Share((rank,), self.processes), rank == 0

    def _reduce(self, value: Tensor, how: distributed.ReduceOp.RedOpType = distributed.ReduceOp.SUM) -> Tensor:
        with _told_when_lost():
            distributed.all_reduce(value, how)
        return value

    def turns(self, batch: list[Sample]) -> list[list[Sample]]:
        return [batch]

    def wait(self) -> None:
        self._reduce(torch.zeros(1))

    def agreed(self, number: int) -> int:
        return int(self._reduce(torch.tensor([number if self.first else 0]))[0])

    def all(self, good: bool) -> bool:
        return bool(self._reduce(torch.tensor([int(good)]), distributed.ReduceOp.MIN)[0])

    def check_same(self, what: str, checksum: Callable[[], int]) -> None:
        number = checksum()
        pair = self._reduce(torch.tensor([number, -number]), distributed.ReduceOp.MAX)
        if int(pair[0]) != -int(pair[1]):
            raise FourfoldError(f"the {self.processes} processes that train together do not hold the same {what}: run them on machines of one kind")

    def mean(self, losses: dict[str, float]) -> dict[str, float]:
        values = self._reduce(torch.tensor(list(losses.values()), dtype=torch.float64)) / self.processes
        return dict(zip(losses, values.tolist(), strict=True))

    def average(self, tensors: Sequence[Tensor]) -> None:
        if not tensors:
            return
        known = self._reduce(torch.tensor([int(tensor.grad is not None) for tensor in tensors]), distributed.ReduceOp.MAX).bool().tolist()
        some = [tensor for tensor, is_known in zip(tensors, known, strict=True) if is_known]
        if not some:
            return
        flat = torch.cat([(torch.zeros_like(t) if t.grad is None else t.grad).reshape(-1) for t in some])
        for tensor, mean in zip(some, (self._reduce(flat) / self.processes).split([t.numel() for t in some]), strict=True):
            tensor.grad = mean.reshape(tensor.shape).to(tensor.dtype)

    def any_row(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        if not rows:
            return rows
        flat = self._reduce(torch.cat([value.to(torch.uint8) for value in rows.values()]), distributed.ReduceOp.MAX).bool()
        return dict(zip(rows, flat.split([len(value) for value in rows.values()]), strict=True))

    def summed(self, value: Tensor) -> Tensor:
        return self._reduce(value.detach().clone())

    @contextmanager
    def growing(self, kept: GrowthStatistics) -> Iterator[GrowthStatistics]:
        mine = GrowthStatistics.zeros(len(kept.count), kept.count.device)
        yield mine
        sums = self._reduce(torch.stack([getattr(mine, name) for name in SUMMED]))
        for name, value in zip(SUMMED, sums, strict=True):
            getattr(kept, name).add_(value)
        kept.radius.copy_(torch.maximum(kept.radius, self._reduce(mine.radius, distributed.ReduceOp.MAX)))

    def steps(self) -> AbstractContextManager[None]:
        return unbroken()

    def stopping(self) -> bool:
        number = int(self._reduce(torch.tensor([pending_signal() or 0]), distributed.ReduceOp.MAX)[0])
        if number:
            stop_later(number)
        return bool(number)


@contextmanager
def _told_when_lost() -> Iterator[None]:
    """FourfoldError if another process of the group is gone."""
    try:
        yield
    except RuntimeError as error:
        raise FourfoldError(
            "another of the processes that train together is gone: the same command again continues from the last checkpoint"
        ) from error


@contextmanager
def from_environment() -> Iterator[Together]:
    """The processes that torchrun's variables tell of; one alone without them.

    Raises:
        FourfoldError: the others cannot be reached.
    """
    if any(name not in os.environ for name in VARIABLES) or int(os.environ["WORLD_SIZE"]) < 2:
        yield ALONE
        return
    try:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        where = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
        raise FourfoldError(f"the processes that train together cannot meet at {where} ({str(error).splitlines()[0]}): choose another") from error
    _spread()
    try:
        yield Many()
    finally:
        distributed.destroy_process_group()


def _spread() -> None:
    """Give each process of this machine its part of the processors, and a GPU of its own where there are as many."""
    here, which = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if cpu.available():
        cpu.set_threads(max(1, (os.cpu_count() or 1) // here))
    if torch.cuda.is_available():
        torch.cuda.set_device(which % torch.cuda.device_count())
