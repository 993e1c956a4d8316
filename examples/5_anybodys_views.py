"""Synchronised views of anybody's, filmed or generated, with cameras and masks: one call from the folder to a page and a `.4dgs` file.

python examples/5_anybodys_views.py out [folder]

The folder holds what `fourfold inspect` reads as several views, for instance `transforms.json` with an entry per view and moment (its `time`) beside
`images/VIEW/TIME.png` and `masks/VIEW/TIME.png`. The same from a shell:

fourfold reconstruct folder -o out/run --recipe freetimegs --export 4dgs
"""

import sys
from pathlib import Path

from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.export.dot4dgs.read import read_4dgs
from fourfold.pipeline import reconstruct
from fourfold.scene.scene import Scene


def main(out: Path, folder: Path | None = None) -> Scene:
    """Write `run/player.html` and `run/exports/scene.4dgs`; returns the scene as another program finds it in the file."""
    if folder is None:
        generate("dense_rig", out / "views", options=SyntheticOptions(frames=4, width=64, height=48, supersample=1))
        folder = out / "views"
    run = reconstruct(folder, out / "run", recipe="freetimegs", quality="draft", holdout="none", baselines=False, export="4dgs")
    scene = read_4dgs(run.root / "exports" / "scene.4dgs")
    print(f"{run.capture.views} views, {run.capture.times} moments: {run.root / 'player.html'}, {run.root / 'exports' / 'scene.4dgs'}")
    return scene


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
