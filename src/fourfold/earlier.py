"""What becomes of a run's results when its scene is trained anew in another way."""

from __future__ import annotations

from pathlib import Path

from fourfold.errors import FourfoldError
from fourfold.files import read_object

RESULTS = ("scene.safetensors", "report.json", "report.html", "player.html", "renders", "exports")
"""Names in a run's folder of what is made from one scene."""


def set_aside(root: Path, made: tuple[str, str, int]) -> str | None:
    """Move the results of the run in `root` to `root/earlier/...` if its report says that they are of another training than `made`, a recipe's name,
    quality and seed. Returns a sentence that tells, or None where there is nothing to move."""
    try:
        report = read_object(root / "report.json")
    except (FileNotFoundError, FourfoldError):
        return None
    before = (str(report.get("recipe")), str(report.get("quality")), report.get("seed"))
    if before == made:
        return None
    name = "{}_{}_seed{}".format(before[0].replace("/", "_"), *before[1:])
    folder, number = root / "earlier" / name, 2
    while folder.exists():
        folder, number = root / "earlier" / f"{name}_{number}", number + 1
    folder.mkdir(parents=True)
    for result in RESULTS:
        if (root / result).exists():
            (root / result).rename(folder / result)
    return f"scene, report and renders of {before[0]} ({before[1]}, seed {before[2]}) are kept in {folder}"
