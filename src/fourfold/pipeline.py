"""`reconstruct`: the stages in order. Everything is kept in the run's folder, and the same call again continues."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fourfold.capture.capture import Capture
from fourfold.capture.film_lens import FilmLens, turns_of
from fourfold.capture.ingest import capture_key, prepare_capture
from fourfold.capture.shots import long_enough
from fourfold.conclude import Job, conclude
from fourfold.counting import telling
from fourfold.earlier import set_aside
from fourfold.errors import FourfoldError
from fourfold.export.formats import find_format
from fourfold.files import read_object, write_sealed
from fourfold.long_film import LongFilm, in_chunks, make_long_film
from fourfold.notices import fallback, job
from fourfold.options import Clock, Options, Report, command_line, follow, options_of, silent
from fourfold.owner import owned
from fourfold.priors.providers import Preparation, prepare_priors
from fourfold.priors.supplied.layout import recognised
from fourfold.priors.supplied.still_files import asked
from fourfold.recipes import all_recipes, find_recipe
from fourfold.recipes.auto import choose_recipe
from fourfold.recipes.recipe import QUALITIES, Recipe
from fourfold.run_config import claim, of_owner, read_config
from fourfold.scene.file import load_scene, save_scene
from fourfold.scene.scene import Scene
from fourfold.spent import Spent
from fourfold.training.together import ALONE, Together
from fourfold.training.trainer import TrainConfig, choose_device, train

TRAINING_SHARE = 0.85  # of a time budget is for reading, priors and training; the rest is for scores, baselines and videos
LEAST_TRAINING = 0.5  # of a time budget is for training, whatever reading and priors took: a good start that is hardly trained is no scene


@dataclass
class Run:
    """A run's folder: `config.json`, `capture/`, `priors/`, `checkpoints/`, `scene.safetensors`, `report.json`, `report.html`, ..."""

    root: Path

    def __post_init__(self) -> None:
        self.root = Path(self.root)

    @cached_property
    def capture(self) -> Capture:
        """The prepared capture with its cameras."""
        capture = Capture.load(self.root / "capture")
        return prepare_priors(capture, tuple(read_config(self.root).get("cameras", ())), self.root / "priors").capture

    @cached_property
    def scene(self) -> Scene:
        """The trained scene."""
        return load_scene(self.root / "scene.safetensors")

    @cached_property
    def report(self) -> dict[str, Any]:
        """The content of `report.json`."""
        try:
            return read_object(self.root / "report.json")
        except FileNotFoundError as error:
            raise FourfoldError(f"{self.root} holds no report: run `fourfold reconstruct` to its end first") from error


def reconstruct(
    paths: str | Path | Sequence[str | Path], out: str | Path, *, options: Options | None = None, report: Report = silent, **settings: Any
) -> Run:
    """Video of a moving scene becomes a 4D Gaussian scene.

    Args:
        paths: a video, several videos, an image folder, or a data set's folder.
        out: the run's folder; the same call again continues what is there.
        options: settings as one object; or give its fields as keywords: `recipe="monofusion"`.
        report: is told how far the job is: `report(stage, done, total, note="")`, total None where it is not known.

    Raises:
        FourfoldError: the input cannot be used, with what, where and what to do.
    """
    chosen = options_of(options, settings)
    check_options(chosen)
    sources = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    root, clock = Path(out), Clock()
    with owned(root), job():
        _all_stages(sources, root, chosen, report, clock)
    return Run(root)


def _all_stages(sources: Sequence[Path], root: Path, chosen: Options, report: Report, clock: Clock) -> None:
    capture = straight(prepare(sources, root, chosen, report, clock), sources, root, chosen, report, clock)
    made = make(capture, root, chosen, report, clock)
    conclude(
        Job(root, command_line(sources, root, chosen), made.preparation, made.recipe, made.because, chosen, clock, made.long), made.scene, report
    )


@dataclass(frozen=True)
class Made:
    """A trained scene and what it was made with; `long` where it was made in chunks, whose keyframes `preparation` then holds."""

    scene: Scene
    preparation: Preparation
    recipe: Recipe
    because: str
    long: LongFilm | None = None


def make(capture: Capture, root: Path, options: Options, report: Report, clock: Clock, together: Together = ALONE) -> Made:
    """Stages 2 to 4 of a prepared capture: everything is estimated, initialised and trained, a long film in chunks.

    Raises:
        FourfoldError: as `reconstruct`; or several processes would train the chunks of a long film.
    """
    posed = estimate(capture, cameras_insisted_on(options.recipe), root, report, clock)
    recipe, because = pick_recipe(posed.capture, options)
    report(f"recipe {recipe.name if options.recipe == 'auto' else options.recipe}: {because}", 0, None)
    preparation = estimate(capture, priors_of_whole(posed.capture, recipe), root, report, clock)
    if not in_chunks(posed.capture, recipe):
        if together.first:
            together.wait()  # the others may read the priors now
        return Made(optimise(preparation, recipe, root, options, report, clock, together), preparation, recipe, because)
    if together.share.joined > 1:
        raise FourfoldError(f"{capture.times} moments are a long film, whose chunks one process trains after the other: leave out --processes")
    since = Spent.now()
    long = make_long_film(preparation, recipe, root, (options, report, clock), training_seconds(root, options, clock))
    _keep(long.scene, recipe, root, options, report)
    clock.lap("training and priors of chunks", since)
    return Made(long.scene, long.keyframes, recipe, because, long)


def priors_of_whole(capture: Capture, recipe: Recipe) -> tuple[str, ...]:
    """What `recipe` needs estimated of all moments: of a long film only its tracks, the rest is estimated chunk by chunk."""
    if not in_chunks(capture, recipe):
        return recipe.priors
    return ("filmtracks",) if capture.views == 1 else ()


def reconstruct_shots(paths: str | Path | Sequence[str | Path], out: str | Path, *, options: Options, report: Report = silent) -> list[Run]:
    """Every shot of a film that cuts, each as a run of its own in `out`/shot_1, `out`/shot_2, ...; shots too short for a scene are left out.

    Raises:
        FourfoldError: as `reconstruct`; or a single shot was asked for, or the input is not one film, or no shot is long enough.
    """
    sources = [Path(p) for p in ([paths] if isinstance(paths, str | Path) else paths)]
    if options.shot is not None:
        raise FourfoldError(f"got shot {options.shot} and all shots: ask for one of both")
    check_options(options)
    report("looking for cuts", 0, None)
    numbers, short = long_enough(sources, options.capture_options(sources))
    for sentence in short:
        fallback(sentence)
    if not numbers:
        raise FourfoldError(f"{sources[0]} has no shot that is long enough for a scene: film longer")
    return [reconstruct(sources, Path(out) / f"shot_{n}", options=replace(options, shot=n), report=report) for n in numbers]


def check_options(options: Options) -> None:
    """FourfoldError if a name in `options` is not known or its device is not there: said before any work is done."""
    if options.quality not in QUALITIES:
        raise FourfoldError(f"there is no quality {options.quality!r}: choose one of {', '.join(QUALITIES)}")
    if options.recipe != "auto":
        find_recipe(options.recipe)
    if options.priors is not None and not Path(options.priors).is_dir():
        raise FourfoldError(f"{options.priors} is no folder: --priors takes a folder with depth, masks, tracks or cameras in a public layout")
    choose_device(options.device)
    for name in options.exports:
        find_format(name)


def prepare(sources: Sequence[Path], root: Path, options: Options, report: Report, clock: Clock) -> Capture:
    """Stage 1: decode, undistort and keep the images under `root/capture`; if that fails, `root` is left as it was."""
    since = Spent.now()
    check_options(options)
    pixels = QUALITIES[options.quality].pixels
    supplied = None if options.priors is None else Path(options.priors)
    part = options.capture_options(sources)
    key = capture_key(sources, pixels=pixels, holdout=options.holdout, options=part, priors_folder=supplied)
    before = claim(root, key)
    if "film" in before:
        part = replace(part, film=FilmLens(**before["film"] | {"turns": tuple(map(tuple, before["film"]["turns"]))}))
    new = not root.exists() or all(of_owner(p) for p in root.iterdir())
    try:
        told = partial(report, "reading the images")
        with telling(report, "reading the images"):
            capture = prepare_capture(
                sources, root / "capture", pixels=pixels, holdout=options.holdout, options=part, progress=told, priors_folder=supplied
            )
        if supplied is not None and not recognised(capture):
            raise FourfoldError(f"{supplied} holds no priors of this capture in a known layout: see docs/priors_files.md for the layouts")
    except BaseException:
        if new:
            shutil.rmtree(root, ignore_errors=True)
        raise
    for sentence in capture.facts.get("notes", ()):
        report(sentence, 0, None)
    config = {"capture_key": key, "sources": [str(s) for s in sources], "options": asdict(options), "command": command_line(sources, root, options)}
    if insisted := cameras_insisted_on(options.recipe):
        config["cameras"] = list(insisted)
    write_sealed(root / "config.json", before | config)
    clock.lap("capture", since)
    return capture


def straight(capture: Capture, sources: Sequence[Path], root: Path, options: Options, report: Report, clock: Clock) -> Capture:
    """The prepared `capture`, or where its cameras say that its images are not those of a pinhole, the same prepared once more without that."""
    if capture.cameras != "unknown" or capture.views > 1 or "film" in read_config(root):
        return capture
    cameras = estimate(capture, (), root, report, clock).priors.cameras
    found = {} if cameras is None else cameras.provenance.figures.get("straighten", {})
    if cameras is None or not found:
        return capture
    if options.priors is not None:
        fallback("check: the images are not those of a pinhole, but --priors is of them as they are: they stay as they are")
        return capture
    if options.priors is not None:
        fallback("check: the images are not those of a pinhole, but --priors is of them as they are: they stay as they are")
        return capture
    turns = turns_of(cameras.world_to_camera[0]).round(7).tolist() if found.get("rolling") else []
    write_sealed(root / "config.json", read_config(root) | {"film": found | {"turns": turns}})
    return prepare(sources, root, options, report, clock)


def cameras_insisted_on(recipe: str) -> tuple[str, ...]:
    """The providers of cameras that the recipe of this name asks for, none of most."""
    return () if recipe == "auto" else tuple(name for name in find_recipe(recipe).priors if name.startswith("cameras:"))


def pick_recipe(posed: Capture, options: Options) -> tuple[Recipe, str]:
    """The asked recipe, or the one that suits the capture `posed`, whose cameras are known."""
    if options.recipe != "auto":
        return find_recipe(options.recipe), "as asked"
    return choose_recipe(posed, all_recipes())


def estimate(capture: Capture, names: Sequence[str], root: Path, report: Report, clock: Clock) -> Preparation:
    """Stage 2: the priors `names`, the cameras in any case, and a start that the user gave beside them, kept under `root/priors`."""
    wanted = (*asked(capture), *names) if names else names
    preparation = prepare_priors(capture, wanted, root / "priors", lambda what, done, total: report(f"estimating {what}", done, total))
    clock.add_priors(preparation.spent)
    return preparation


def optimise(
    preparation: Preparation, recipe: Recipe, root: Path, options: Options, report: Report, clock: Clock, together: Together = ALONE
) -> Scene:
    """Stages 3 and 4: initialise and train, perhaps with other processes; leaves `root/scene.safetensors`."""
    since = Spent.now()
    left = training_seconds(root, options, clock) if together.first else None
    if options.time_budget is not None:
        left = together.agreed(round(10 * (left or 0.0))) / 10
    report("preparing the training", 0, None)
    config = TrainConfig(options.seed, options.quality, left, options.device, progress=follow(report), together=together)
    with telling(report, "preparing the training"):
        scene = train(recipe, None, preparation.capture, preparation.priors, root, config)
    if together.first:
        _keep(scene, recipe, root, options, report)
    together.wait()
    clock.lap("training", since)
    return scene


def _keep(scene: Scene, recipe: Recipe, root: Path, options: Options, report: Report) -> None:
    """Save `scene` as the run's own; results of a training with another recipe, quality or seed are set aside."""
    if told := set_aside(root, (recipe.name, options.quality, options.seed)):
        report(told, 0, None)
    save_scene(scene, root / "scene.safetensors")


def training_seconds(root: Path, options: Options, clock: Clock) -> float | None:
    """Seconds of the time budget that training gets, None without one; as before when the same command continues."""
    if options.time_budget is None:
        return None
    config = read_config(root)
    shares, asked = config.get("training_seconds", {}), f"{options.time_budget:g}"
    if asked not in shares:
        shares[asked], sentence = training_share(options.time_budget, clock.total)
        if sentence:
            fallback(sentence)
        write_sealed(root / "config.json", config | {"training_seconds": shares})
    return shares[asked]


def training_share(budget: float, spent: float) -> tuple[float, str | None]:
    """Seconds that training gets of a budget of which `spent` seconds are gone, and a sentence if the whole job will take longer for that."""
    left, least = TRAINING_SHARE * budget - spent, LEAST_TRAINING * budget
    if left >= least:
        return round(left, 1), None
    late = (spent + least) / TRAINING_SHARE
    took = f"reading and priors took {spent:.0f} s of the {budget:.0f} s that were given"
    return round(least, 1), f"{took}; training still gets half, so that the whole takes about {late:.0f} s"
