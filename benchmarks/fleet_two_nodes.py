"""A batch on a Ray cluster of two nodes of this machine, one of which is killed in the middle; and the same manifest in plain processes.

    python benchmarks/fleet_two_nodes.py --out out/fleet

Six small generated captures with cameras are reconstructed. As soon as two are under way, one on each node, and a stage is finished, the
second node is killed. Prints one JSON object: what became of each capture, how many tries it took,
which finished stages were made a second time (none should be), and whether the
scenes are those of the same manifest without Ray, to the bit. Needs `pip install 'fourfold[fleet]'`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from same_result import digest

CAPTURES = 6
# Read by every Python process that is started from here: quality "draft" with few steps.
HURRY = """
import sys
if "fourfold" in " ".join(sys.orig_argv):
    from fourfold.recipes.recipe import QUALITIES, Quality
    QUALITIES["draft"] = Quality(pixels=45_000, steps=0.1, gaussians=0.05)
"""


def make_manifest(folder: Path) -> Path:
    """Six captures of other seeds and a manifest that lists them."""
    from fourfold.capture.synthetic import SyntheticOptions, generate

    size = SyntheticOptions(frames=8, width=64, height=48, supersample=1)
    for seed in range(CAPTURES):
        generate("casual", folder / f"capture_{seed}", seed=seed, options=size)
    options = {"quality": "draft", "recipe": "splat3d", "device": "cpu", "baselines": False}
    captures = [{"paths": [f"capture_{seed}"]} for seed in range(CAPTURES)]
    (folder / "manifest.json").write_text(json.dumps({"defaults": options, "captures": captures}))
    return folder / "manifest.json"


def finished_stages(runs: Sequence[Path]) -> dict[str, int]:
    """What is complete now, with the time of its making."""
    files = [file for run in runs for file in [*run.rglob("stage.json"), *run.glob("scene.safetensors")]]
    return {str(file): file.stat().st_mtime_ns for file in files if not any(part.endswith(".part") for part in file.parts)}


def on_two_nodes(manifest: Path, out: Path) -> dict[str, Any]:
    """The batch on a cluster whose second node is killed while it works on a run."""
    import ray
    from ray.cluster_utils import Cluster

    from fourfold.fleet.batch import run_batch
    from fourfold.fleet.manifest import read_manifest
    from fourfold.fleet.runners import runner
    from fourfold.owner import OWNER_FILE

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    jobs = read_manifest(manifest, out)
    before: dict[str, int] = {}
    under_way: list[str] = []

    def kill() -> None:
        while len(active := [job.name for job in jobs if (job.out / OWNER_FILE).exists()]) < 2 or not finished_stages([job.out for job in jobs]):
            time.sleep(0.02)  # two at once: with one place a node, one of them is on the second
        before.update(finished_stages([job.out for job in jobs]))
        cluster.remove_node(second, allow_graceful=False)
        under_way.extend(active)

    try:
        ray.init(address=cluster.address, log_to_driver=False)
        threading.Thread(target=kill, daemon=True).start()
        with runner(cluster.address, None, 1) as submit:
            rows = run_batch(jobs, out, submit)
        nodes = [node["Alive"] for node in ray.nodes()]
    finally:
        ray.shutdown()
        cluster.shutdown()
    after = finished_stages([job.out for job in jobs])
    return {
        "nodes_alive_of": [sum(nodes), len(nodes)],
        "under_way_when_killed": sorted(under_way),
        "states": {row.name: row.state for row in rows},
        "tries": {row.name: row.tries for row in rows},
        "lost": {row.name: row.lost for row in rows if row.lost},
        "finished_before": len(before),
        "made_twice": sorted(name for name, when in before.items() if after.get(name) != when),
        "scenes": {job.name: digest(job.out / "scene.safetensors") for job in jobs},
    }


def in_processes(manifest: Path, out: Path) -> dict[str, str]:
    """Hash of the scene of each capture of the same batch without Ray."""
    from fourfold.fleet.batch import run_batch
    from fourfold.fleet.manifest import read_manifest
    from fourfold.fleet.runners import runner

    jobs = read_manifest(manifest, out)
    with runner("processes", 2, 1) as submit:
        run_batch(jobs, out, submit)
    return {job.name: digest(job.out / "scene.safetensors") for job in jobs}


def two_nodes(out: Path) -> dict[str, Any]:
    """Both batches in the folder `out`, which is emptied."""
    shutil.rmtree(out, ignore_errors=True)
    (out / "site").mkdir(parents=True)
    (out / "site" / "sitecustomize.py").write_text(HURRY)
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 - the name is Ray's; otherwise Ray's workers wait for whatever else runs here
    os.environ["PYTHONPATH"] = os.pathsep.join([str((out / "site").resolve()), os.environ.get("PYTHONPATH", "")])
    manifest = make_manifest(out)
    found = on_two_nodes(manifest, out / "ray")
    return found | {"same_as_processes": found["scenes"] == in_processes(manifest, out / "processes")}


def main() -> None:
    """Run it; exit code 1 if a capture is not done, something was made twice, or a scene differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/fleet"))
    found = two_nodes(parser.parse_args().out)
    print(json.dumps(found, indent=2))
    good = set(found["states"].values()) == {"done"} and not found["made_twice"] and found["same_as_processes"] and found["lost"]
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
