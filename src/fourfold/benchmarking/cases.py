"""What can be benchmarked: captures, how they are split and measured, which published table they stand beside, and how to get the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fourfold.benchmarking.basketball import four_cameras
from fourfold.benchmarking.hidden import hide
from fourfold.capture.synthetic import KINDS, generate
from fourfold.errors import FourfoldError
from fourfold.evaluation.protocols.catalogue import find_protocol
from fourfold.evaluation.published.reader import load_published, published_names
from fourfold.recipes.recipe import QualityName

HIDDEN = "_hidden"
"""Ends the name of a generated capture of which images and cameras alone are seen."""
BARE = "_bare"
"""Ends the name of one of which images alone are seen."""
Make = Callable[[Path | None, Path], Path | None]
"""(data folder, folder for generated data) -> the capture's folder, or None where the data is not there."""

HOW_TO_GET = {
    "Neural3DV": "github.com/facebookresearch/Neural_3D_Video, releases; unpack as neural3dv/SCENE",
    "ENeRF-Outdoor": "github.com/zju3dv/ENeRF, on request; unpack as enerf-outdoor/SCENE",
    "SelfCap": "zju3dv.github.io/longvolcap, on request; unpack as selfcap/SCENE",
    "iPhone": "github.com/KAIR-BAIR/dycheck, iPhone data; unpack as iphone/SCENE",
    "iPhone360": "the page of 4DGS360; unpack as iphone360/SCENE",
    "ExoRecon": "ego-exo4d-data.org and the page of MonoFusion; unpack as exorecon/SCENE",
    "LetCamsGo": "the page of the sparse dynamic cameras paper; unpack as letcamsgo/SCENE",
}


@dataclass(frozen=True)
class Place:
    """Captures that make one column of a table.

    Attributes:
        dataset: its name, that of the published table's data set where there is one.
        protocol: how it is measured.
        pattern: glob below the data folder; every match is a capture, and figures are averaged over them.
        folds: `--holdout` rules, one run each, averaged; None takes those of the protocol.
        make: makes the capture instead of finding it.
    """

    dataset: str
    protocol: str
    pattern: str = ""
    folds: tuple[str | None, ...] | None = None
    make: Make | None = None

    @property
    def holdouts(self) -> tuple[str | None, ...]:
        """The `--holdout` rules, one run each; None is the data's own split."""
        return find_protocol(self.protocol).holdouts if self.folds is None else self.folds

    def captures(self, data: Path | None, generated: Path) -> list[Path]:
        """The captures that are there."""
        if self.make is not None:
            made = self.make(data, generated)
            return [] if made is None else [made]
        return [] if data is None else sorted(p for p in data.glob(self.pattern) if p.is_dir() and not p.name.startswith("."))


@dataclass(frozen=True)
class Case:
    """A table to fill: its places, the published table beside it (None: there is none), and how to get the data."""

    name: str
    title: str
    places: tuple[Place, ...]
    published: str | None
    how_to_get: str
    quality: QualityName = "normal"


_OWN: tuple[Case, ...] = (
    Case(
        "nvidia_balloon1",
        "NVIDIA Dynamic Scenes, Balloon1",
        (Place("Balloon1", "nvidia_rodynrf", "nvidia_balloon1"), Place("Balloon1, unseen moments", "nvidia_unseen", "nvidia_balloon1")),
        "nvidia_balloon1",
        "the NVIDIA Dynamic Scenes data set: Balloon1's 12 images and poses_bounds.npy, and heldout/v000_tNNN.png, as nvidia_balloon1/",
    ),
    Case(
        "panoptic_basketball",
        "Panoptic Sports, basketball",
        (Place("Basketball", "panoptic_sports", "panoptic_basketball"),),
        "panoptic_basketball",
        "dynamic3dgaussians.github.io, the basketball scene of its data, as panoptic_basketball/",
    ),
    Case(
        "panoptic_basketball_sparse",
        "Panoptic Sports, basketball: four cameras about 90 degrees apart, tested half-way between two of them",
        (Place("Basketball, 4 cameras", "panoptic_sports", make=four_cameras),),
        None,
        "dynamic3dgaussians.github.io, the basketball scene of its data, as panoptic_basketball/",
    ),
    Case(
        "dnerf_mutant",
        "D-NeRF mutant",
        (Place("mutant, 400", "dnerf_400", "dnerf_mutant_400"), Place("mutant, 800", "dnerf", "dnerf_mutant")),
        "dnerf_mutant",
        "github.com/albertpumarola/D-NeRF: the mutant scene as dnerf_mutant/, or reduced to 400 x 400 as dnerf_mutant_400/",
        "best",  # the first quality that keeps 400 x 400
    ),
    Case(
        "pose2sim_multiperson",
        "Pose2Sim, two persons before four fixed cameras: leave one camera out",
        (Place("Multi-person", "plain", "pose2sim_multiperson", tuple(f"cameras:cam0{n}" for n in range(1, 5))),),
        None,
        "github.com/perfanalytics/pose2sim, Demo_MultiPerson, as pose2sim_multiperson/",
    ),
)


def case_names() -> list[str]:
    """Names of everything that can be benchmarked."""
    own = [case.name for case in _OWN]
    return [*own, *(f"synth_{kind}" for kind in KINDS), *(name for name in published_names() if name not in own)]


def find_case(name: str) -> Case:
    """The case called `name`. FourfoldError naming the known ones if there is none."""
    for case in _OWN:
        if case.name == name:
            return case
    unseen = next((end for end in (HIDDEN, BARE) if name.endswith(end)), "")
    if name.startswith("synth_") and name.removeprefix("synth_").removesuffix(unseen) in KINDS:
        return _synthetic(name.removesuffix(unseen), unseen)
    if name in published_names():
        return _paper(name)
    raise FourfoldError(f"there is no benchmark {name!r}: choose one of {', '.join(case_names())}")


def _synthetic(name: str, unseen: str) -> Case:
    kind = name.removeprefix("synth_")

    def whole(data: Path | None, generated: Path) -> Path:
        given = None if data is None else data / name
        if given is not None and given.is_dir():
            return given
        folder = generated / name
        if not (folder / "capture.json").exists():
            generate(kind, folder)
        return folder

    def make(data: Path | None, generated: Path) -> Path:
        folder = whole(data, generated)
        return hide(folder, generated / (name + unseen), unseen == BARE) if unseen else folder

    told, how = name + unseen, {"": "", HIDDEN: ", masks and depth hidden", BARE: ", images alone"}[unseen]
    return Case(told, f"Generated capture {kind}{how}", (Place(told, "synthetic", make=make),), None, f"it is generated: `fourfold synth {kind}`")


def _paper(name: str) -> Case:
    table = load_published(name)
    slug = {dataset: HOW_TO_GET.get(dataset.partition(",")[0], "").partition("unpack as ")[2].partition("/")[0] for dataset in table.datasets}
    places = tuple(Place(d, protocol, f"{slug[d] or 'letcamsgo/' + d.lower()}{'/*' if slug[d] else ''}") for d, protocol in table.datasets.items())
    get = "; ".join(dict.fromkeys(f"{d}: {HOW_TO_GET.get(d.partition(',')[0], HOW_TO_GET['LetCamsGo'])}" for d in table.datasets))
    return Case(name, table.title, tuple(p for p in places if p.dataset != "Average"), name, get)
