"""Who runs the tries of a batch: processes of this machine, or a Ray cluster. A runner gives a future for every try."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from fourfold.errors import FourfoldError
from fourfold.fleet.attempt import Outcome, attempt
from fourfold.fleet.manifest import Job
from fourfold.notices import fallback

Submit = Callable[[Job, bool], "Future[Outcome]"]
"""Starts a try at a job as soon as there is room: (job, whether an earlier try was lost) -> its outcome, or what ended the worker."""

LOCAL = "local"


@contextmanager
def runner(cluster: str, workers: int | None, cpus: int) -> Iterator[Submit]:
    """The runner for `cluster`: "processes" of this machine, "local" for a Ray of this machine, or the address of a Ray cluster.

    Where Ray is not installed, "local" becomes plain processes, which is said.

    Args:
        workers: tries at a time on this machine; None takes as many as `cpus` each allows.
        cpus: processors that one try may use.

    Raises:
        FourfoldError: a cluster is asked for that cannot be reached, or without Ray.
    """
    if cluster == "processes":
        with _processes(workers, cpus) as submit:
            yield submit
        return
    try:
        import ray
    except ImportError as error:
        if cluster != LOCAL:
            raise FourfoldError(f"the cluster {cluster} needs Ray, which is not installed: pip install 'fourfold[fleet]'") from error
        fallback("Ray is not installed (pip install 'fourfold[fleet]'): the batch runs in plain processes of this machine")
        with _processes(workers, cpus) as submit:
            yield submit
        return
    with _ray(ray, cluster, workers, cpus) as submit:
        yield submit


@contextmanager
def _processes(workers: int | None, cpus: int) -> Iterator[Submit]:
    count = workers or max(1, (os.cpu_count() or 1) // cpus)
    with ThreadPoolExecutor(max_workers=count) as pool:
        yield lambda job, again: pool.submit(attempt, job, again)


@contextmanager
def _ray(ray: Any, cluster: str, workers: int | None, cpus: int) -> Iterator[Submit]:
    """Tries as Ray tasks. Ray itself retries nothing: what was lost is tried again by the batch, which knows that it was."""
    already = ray.is_initialized()
    if not already:
        try:
            if cluster == LOCAL:
                ray.init(num_cpus=None if workers is None else workers * cpus, include_dashboard=False, log_to_driver=False)
            else:
                ray.init(address=cluster, log_to_driver=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise FourfoldError(f"the Ray cluster {cluster} cannot be reached ({str(error).splitlines()[0]}): check its address") from error
    task = ray.remote(num_cpus=cpus, max_retries=0)(attempt)
    try:
        yield lambda job, again: task.remote(job, again).future()
    finally:
        if not already:
            ray.shutdown()
