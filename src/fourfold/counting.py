"""How far a long piece of work is, told in units of its own: frames, pairs, starts.

Whoever works counts and knows of no bar; whoever wants to show one says so with `telling`. What is told decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Tell = Callable[[str, int, int | None], None]
"""Called as tell(stage, done, total), total None where it is not known."""


@dataclass(frozen=True)
class _Listener:
    tell: Tell
    stage: str


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)


@contextmanager
def telling(tell: Tell, stage: str) -> Iterator[None]:
    """Inside, what this thread counts is told to `tell` as parts of `stage`."""
    token = _listener.set(_Listener(tell, stage))
    try:
        yield
    finally:
        _listener.reset(token)


def count(what: str, done: int, total: int | None = None) -> None:
    """Tell that `done` of `total` units of the part `what` of the stage are done; "" for a stage that is of one piece."""
    listener = _listener.get()
    if listener is not None:
        listener.tell(f"{listener.stage}: {what}" if what else listener.stage, done, total)


def counted(items: Iterable[T], what: str = "", total: int | None = None) -> Iterator[T]:
    """`items` one after the other, each told as done when the next is asked for; `total` where they do not tell their number."""
    if total is None and isinstance(items, Collection):
        total = len(items)
    count(what, 0, total)
    for done, item in enumerate(items, 1):
        yield item
        count(what, done, total)
