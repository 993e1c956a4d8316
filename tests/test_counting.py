"""What long work tells of itself: units counted without a bar, the pace and the time left, processors' seconds."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from fourfold.cli import progress
from fourfold.counting import count, counted, telling
from fourfold.spent import Spent


def test_items_are_told_when_they_are_done_and_nobody_need_listen() -> None:
    assert list(counted(range(3), "frames")) == [0, 1, 2]
    told: list[tuple[str, int, int | None]] = []
    with telling(lambda *said: told.append(said), "flow"):
        for item in counted([5, 6]):
            told.append(("working", item, None))
        list(counted(iter("ab"), "views", total=2))
        count("growing", 4)
    count("after", 1)
    first = [("flow", 0, 2), ("working", 5, None), ("flow", 1, 2), ("working", 6, None), ("flow", 2, 2)]
    assert told == [*first, ("flow: views", 0, 2), ("flow: views", 1, 2), ("flow: views", 2, 2), ("flow: growing", 4, None)]


def test_each_thread_tells_its_own_listener() -> None:
    told: list[str] = []

    def work(name: str) -> None:
        with telling(lambda stage, *_: told.append(stage), name):
            list(counted(range(2)))

    with telling(lambda stage, *_: told.append(stage), "outer"), ThreadPoolExecutor(2) as pool:
        list(pool.map(work, ("a", "b")))
    assert sorted(told) == ["a"] * 3 + ["b"] * 3


@pytest.fixture
def lines(monkeypatch, capfd):
    """Tell a stage at chosen seconds; the lines that came out."""
    clock = [0.0]
    monkeypatch.setattr("fourfold.cli.progress.time.monotonic", lambda: clock[0])
    told = progress._Lines()

    def tell(*moments: tuple[float, int], total: int) -> list[str]:
        for now, done in moments:
            clock[0] = now
            told("training: static", done, total)
        return capfd.readouterr().err.splitlines()

    return tell


def _left(line: str) -> float | None:
    found = re.search(r"(\d+) s left", line)
    return float(found[1]) if found else None


def test_the_time_left_is_that_of_an_even_pace_and_not_told_at_the_first_step(lines) -> None:
    out = lines(*((0.1 * step, step) for step in range(1, 1001)), total=1000)
    assert out[0].startswith("training: static: 1/1000") and _left(out[0]) is None
    assert len(out) == 1 + 9 + 1
    for line in out[1:-1]:
        done = int(re.search(r": (\d+)/", line)[1])
        assert _left(line) == pytest.approx(0.1 * (1000 - done), abs=1)


def test_what_an_earlier_run_did_takes_no_time_of_this_one(lines) -> None:
    out = lines((0.0, 900), (20.0, 910), (40.0, 920), total=1000)
    assert _left(out[-1]) == pytest.approx(160, abs=1)


def test_the_time_left_follows_a_stage_that_grows_slower(lines) -> None:
    quick, slow = [(0.1 * n, n) for n in range(1, 151)], [(15 + 0.4 * n, 150 + n) for n in range(1, 151)]
    out = lines(*quick, *slow[:-1], total=1000)
    assert _left(out[-1]) == pytest.approx(0.4 * 705, rel=0.1)


def test_a_stage_that_begins_anew_tells_its_new_pace(lines) -> None:
    out = lines(*((0.1 * n, n) for n in range(101)), *((10 + 2.0 * n, n) for n in range(31)), total=100)
    assert _left(out[-1]) == pytest.approx(140, rel=0.1)


def test_processors_seconds_are_of_work_and_not_of_waiting() -> None:
    start = Spent.now()
    time.sleep(0.3)
    slept = start.until_now()
    while start.until_now().cpu < slept.cpu + 0.15:
        sum(range(10_000))
    spent = start.until_now()
    assert slept.wall >= 0.29 and slept.cpu < 0.1
    assert spent.cpu >= 0.15 and spent.wall > slept.wall
