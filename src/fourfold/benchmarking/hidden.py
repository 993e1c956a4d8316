"""A generated capture whose masks and depth nobody sees: images and cameras alone, so that every prior has to be estimated or is exact on purpose."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.truth import TRUTH
from fourfold.files import replacing

IMAGE = re.compile(r"(masks|depth)_(\d+)\.npy")


def hide(source: Path, target: Path) -> Path:
    """A copy of the generated capture `source` at `target`, made unless it is there.

    Depth, and the masks of views that are trained on, go to its `truth/`; masks of held-out views stay, since they tell where is measured.
    """
    if (target / "capture.json").exists():
        return target
    trained = Capture.load(source).train.any(axis=1)
    with replacing(target) as folder:
        shutil.copytree(source, folder)
        for file in sorted(folder.glob("*.npy")):
            told = IMAGE.fullmatch(file.name)
            if told and (told[1] == "depth" or trained[int(told[2])]):
                (folder / TRUTH).mkdir(exist_ok=True)
                file.rename(folder / TRUTH / file.name)
    return target
