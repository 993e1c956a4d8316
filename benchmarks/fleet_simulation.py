"""From one laptop to thousands of captures: a simulation of queue, failures and storage of `fourfold batch`. Seconds, and the same every time.

    python benchmarks/fleet_simulation.py

Captures wait in one queue; a machine takes as many at a time as it has places. Machines fail at random and come back after a while; what ran on
them returns to the queue. With resuming a try goes on from its last checkpoint, as runs do; without it begins anew. Each failure also costs the
start of a process. Storage is what lies in the runs' folders: everything while a capture is worked on, and after it either everything or
only what the user keeps. Printed as Markdown; the numbers that are assumed stand in `Fleet` and `Work`.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Work:
    """A capture: measured on `clips/duck` at quality normal on two cores (docs/results.md), longer captures in proportion.

    Attributes:
        seconds: median length of the work; spread: standard deviation of its natural logarithm.
        checkpoint: seconds of work that a failure loses at most; start: seconds that every try costs before it works.
        working, kept: bytes in a run's folder while it is worked on, and of scene, player, report and videos.
    """

    seconds: float = 200.0
    spread: float = 0.8
    checkpoint: float = 20.0
    start: float = 6.0
    working: float = 132e6
    kept: float = 20e6


@dataclass(frozen=True)
class Fleet:
    """Machines and what is asked of them.

    Attributes:
        captures: all there at the beginning; machines, places: how many, and captures at a time on each.
        between_failures, repair: mean hours, exponentially distributed; resume: whether a try goes on where the last one stopped.
    """

    name: str
    captures: int
    machines: int
    places: int
    between_failures: float = 24.0
    repair: float = 0.5
    resume: bool = True


@dataclass
class _Job:
    left: float
    worked: float = 0.0
    tries: int = 0
    first: float = -1.0


@dataclass(frozen=True)
class Found:
    """What a fleet took: hours until all is done, share of places' time that was work, lost work in hours, failures met, most tries of a
    capture, hours until 95 of 100 captures had begun, bytes at the end with everything kept, at most with intermediates removed."""

    hours: float
    busy: float
    lost: float
    failures: int
    tries: int
    begun: float
    all_kept: float
    peak: float


def simulate(fleet: Fleet, work: Work = Work(), seed: int = 0) -> Found:
    """Run the queue to its end, event by event."""
    random = np.random.default_rng(seed)
    jobs = [_Job(work.seconds * math.exp(work.spread * random.normal())) for _ in range(fleet.captures)]
    total = sum(job.left for job in jobs)
    waiting, taken = deque(range(fleet.captures)), [0] * fleet.machines
    events: list[tuple[float, int, str, int, int]] = []  # (when, order, what, machine, job)
    up, running, order, now, done, lost, failures = [True] * fleet.machines, {}, 0, 0.0, 0, 0.0, 0
    finished = 0.0

    def push(when: float, what: str, machine: int, job: int = -1) -> None:
        nonlocal order
        order += 1
        heapq.heappush(events, (when, order, what, machine, job))

    def begin(machine: int) -> None:
        while waiting and up[machine] and taken[machine] < fleet.places:
            job = waiting.popleft()
            taken[machine] += 1
            jobs[job].tries += 1
            jobs[job].first = now if jobs[job].first < 0 else jobs[job].first
            running[job] = (machine, now)
            push(now + work.start + jobs[job].left, f"done {jobs[job].tries}", machine, job)

    for machine in range(fleet.machines):
        push(random.exponential(fleet.between_failures) * 3600, "fail", machine)
        begin(machine)
    peak = 0.0
    while done < fleet.captures:
        now, _, what, machine, job = heapq.heappop(events)
        if what == "fail":
            up[machine], failures = False, failures + 1
            for stopped in [j for j, (m, _) in running.items() if m == machine]:
                spent = max(0.0, now - running.pop(stopped)[1] - work.start)
                keeps = spent // work.checkpoint * work.checkpoint if fleet.resume else -jobs[stopped].worked
                lost += spent - keeps
                jobs[stopped].left -= keeps
                jobs[stopped].worked += keeps
                waiting.appendleft(stopped)
            taken[machine] = 0
            push(now + random.exponential(fleet.repair) * 3600, "back", machine)
        elif what == "back":
            up[machine] = True
            push(now + random.exponential(fleet.between_failures) * 3600, "fail", machine)
        elif job in running and what == f"done {jobs[job].tries}":
            running.pop(job)
            taken[machine] -= 1
            done, finished = done + 1, now
        for one in range(fleet.machines) if what == "fail" else (machine,):
            begin(one)
        peak = max(peak, done * work.kept + len(running) * work.working)
    places = fleet.machines * fleet.places
    begun = float(np.quantile([job.first for job in jobs], 0.95))
    return Found(
        finished / 3600,
        total / (places * finished),
        lost / 3600,
        failures,
        max(job.tries for job in jobs),
        begun / 3600,
        fleet.captures * work.working,
        peak,
    )


FLEETS = (
    Fleet("laptop, 2 cores", 10, 1, 1),
    Fleet("workstation, 16 cores", 200, 1, 8),
    Fleet("10 machines of 16 cores", 2_000, 10, 8),
    Fleet("100 machines of 16 cores", 20_000, 100, 8),
    Fleet("100 machines that live 2 hours (spot market)", 20_000, 100, 8, between_failures=2.0),
)


def table() -> str:
    """All fleets, the last one also without resuming, and with captures ten times longer, as Markdown."""
    rows = [
        "| fleet | captures | length | hours | work | failures | lost work, h | most tries | 95 % begun, h | all kept | most, cleaned |",
        "|---" * 11 + "|",
    ]
    long = Work(seconds=2000.0, working=1.32e9, kept=200e6)
    cases = [(fleet, Work(), "") for fleet in FLEETS]
    cases += [(replace(FLEETS[-1], resume=resume), long, "" if resume else ", no resuming") for resume in (True, False)]
    for fleet, work, note in cases:
        f = simulate(fleet, work)
        rows.append(
            f"| {fleet.name}{note} | {fleet.captures:,} | {work.seconds:.0f} s | {f.hours:.1f} | {f.busy:.0%} | {f.failures:,} | {f.lost:.1f} "
            f"| {f.tries} | {f.begun:.1f} | {f.all_kept / 1e9:,.0f} GB | {f.peak / 1e9:,.0f} GB |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
