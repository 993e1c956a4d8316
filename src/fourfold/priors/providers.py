"""Who can estimate what: providers found in the folders, chosen by rank, each run once and kept."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from fourfold.capture.capture import Capture
from fourfold.counting import Tell, telling
from fourfold.errors import FourfoldError
from fourfold.files import key_of, read_stamp, run_stage
from fourfold.kernels.blas import one_blas_thread
from fourfold.kernels.heap import keep_freed_memory
from fourfold.notices import fallback
from fourfold.priors import contracts
from fourfold.priors.contracts import Prior, Priors
from fourfold.priors.frames_kept import drop_kept, open_kept
from fourfold.room import check_disk
from fourfold.spent import Spent

CONTRACTS: dict[str, type[Prior]] = {c.name: c for c in Prior.__subclasses__()}
ALSO_CALLED = {
    "camera": "cameras",
    "poses": "cameras",
    "mask": "masks",
    "tracks": "tracks2d",
    "long-tracks": "longtracks",
    "static": "still",
    "tracks-2d": "tracks2d",
    "2d-tracks": "tracks2d",
    "tracks-3d": "tracks3d",
    "3d-tracks": "tracks3d",
    "depths": "depth",
    "disparities": "disparity",
    "flows": "flow",
    "optical-flow": "flow",
    "point-maps": "pointmaps",
    "points": "pointmaps",
    "pointmap": "pointmaps",
    "match": "matches",
    "feature": "features",
    "cloud": "clouds",
}
BYTES_PER_PIXEL = {"masks": 1, "depth": 6, "disparity": 6, "pointmaps": 14, "flow": 12}
"""What a prior takes on the disk for each pixel of each frame; the others are small beside these."""
_FOLDERS = (
    "given",
    "supplied",
    *("tracking", "cameras", "depth", "masks", "still", "rigs", "movers", "features"),  # without weights
    *("depth_alignment", "multiview_tracks", "anchored_tracking"),
    "foundation",
)


@dataclass(frozen=True)
class Provider:
    """One way to obtain one or more priors.

    Attributes:
        name: how the report calls it, for instance "dis" or "raft-small".
        makes: names of the priors it returns, fields of `Priors`.
        needs: names of the priors it reads; they are made first.
        rank: the available provider of the highest rank serves.
        missing: (capture) -> None if it can serve this capture on this machine, "" if it does not apply to it, or what is missing.
        make: (capture with cameras, priors so far) -> the priors it makes, in the order of `makes`.
        version: raised when its results change, so that kept results are made anew.
        inputs: (capture) -> what else its results depend on, such as the times of change of supplied files; JSON-able.
        refines: names of priors that it corrects: those that are there by then it returns, corrected, in this order, and nothing else. It
            serves only who insists on its name.
        named: it serves only who insists on its name.
    """

    name: str
    makes: tuple[str, ...]
    needs: tuple[str, ...]
    rank: int
    missing: Callable[[Capture], str | None]
    make: Callable[[Capture, Priors], Sequence[Prior]]
    version: int = 1
    inputs: Callable[[Capture], object] = lambda _: None
    refines: tuple[str, ...] = ()
    named: bool = False


@dataclass
class Preparation:
    """The result of `prepare_priors`: the capture with its cameras, the priors, and what each took."""

    capture: Capture
    priors: Priors
    spent: dict[str, Spent] = field(default_factory=dict)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds per prior."""
        return {name: spent.wall for name, spent in self.spent.items()}


@cache
def all_providers() -> tuple[Provider, ...]:
    """Every provider: the `PROVIDERS` of all modules below `priors/`, highest rank first."""
    package = importlib.import_module("fourfold.priors")
    found: list[Provider] = []
    for folder in _FOLDERS:
        module = importlib.import_module(f"{package.__name__}.{folder}")
        found += getattr(module, "PROVIDERS", ())
        for item in pkgutil.iter_modules(getattr(module, "__path__", [])):
            found += getattr(importlib.import_module(f"{module.__name__}.{item.name}"), "PROVIDERS", ())
    return tuple(sorted(found, key=lambda p: -p.rank))


def prior_names(text: str) -> tuple[str, ...]:
    """The priors that a person asked for: names separated by commas, also by their other names (`tracks` is tracks2d), each optionally
    with `:provider`. FourfoldError for a name that is no prior."""
    names: list[str] = []
    for word in (w.strip() for w in text.split(",")):
        name, colon, provider = word.partition(":")
        name = ALSO_CALLED.get(name.lower().replace("_", "-"), name.lower())
        if name not in CONTRACTS:
            raise FourfoldError(f"there is no prior {word!r}: choose one of {', '.join(CONTRACTS)}")
        names.append(name + colon + provider)
    return tuple(dict.fromkeys(names))


def choose(prior: str, capture: Capture) -> Provider:
    """The provider of the highest rank that can make `prior` for this capture, of those in `prior:one|another` where it names some; with `any`
    among them also of those who serve without being named.

    Raises:
        FourfoldError: there is none.
    """
    name, _, wanted = prior.partition(":")
    reasons: dict[str, list[str]] = {}  # those without the same thing share a sentence
    said: dict[str, list[str]] = {}
    for provider in all_providers():
        anyone = not wanted or "any" in wanted.split("|")
        asked = provider.name in wanted.split("|") or (anyone and not provider.refines and not provider.named)
        if name not in provider.makes or not asked:
            continue
        reason = provider.missing(capture)
        if reason is None:
            for sentence in _sentences(name, said):
                fallback(f"{sentence}, the next provider serves")
            return provider
        if reason or wanted:
            sentence = reason or "it does not apply to this capture, or its weights are not here"
            reasons.setdefault(sentence, []).append(provider.name)
            if reason or not provider.named:  # who keeps no weights is not told of every variant that needs some
                said.setdefault(sentence, []).append(provider.name)
    raise FourfoldError(f"nothing can provide the prior {prior!r} for this capture: {'; '.join(_sentences(name, reasons)) or 'no provider knows it'}")


def _sentences(prior: str, reasons: dict[str, list[str]]) -> list[str]:
    return [f"{prior} from {', '.join(who)} is not available ({reason})" for reason, who in reasons.items()]


def prepare_priors(capture: Capture, names: Sequence[str], out: Path, say: Tell = lambda *_: None, known: Priors | None = None) -> Preparation:
    """Make the priors `names` and everything they need, each kept in `out/PROVIDER/PRIOR.safetensors` and reused while its inputs stay.

    Args:
        names: prior names, in any order; "name:provider" insists on a provider, "name:one|another" on one of several. Cameras are
            always known afterwards.
        say: is told what is being made, and how far it is.
        known: priors of this capture that are there already: they are kept nowhere and made by nobody.
    """
    keep_freed_memory()
    done = Preparation(capture, Priors() if known is None else known)
    unknown = [name for name in names if name.partition(":")[0] not in CONTRACTS]
    if unknown:
        raise FourfoldError(f"there is no prior {unknown[0]!r}: choose one of {', '.join(CONTRACTS)}")
    base = key_of(_origin(capture), capture.train, capture.heldout, *([] if capture.rows is None else [capture.rows]))
    insisted = [name for name in names if name.partition(":")[0] == "cameras"]
    for name in (*(insisted or ["cameras"]), *(name for name in names if name not in insisted)):
        _make(name, done, base, out, say)
    return done


def _origin(capture: Capture) -> str:
    """What tells this capture from others wherever its folder lies: the key of its making, or else its path."""
    return read_stamp(capture.root).get("key") or str(capture.root.resolve())


def _make(prior: str, done: Preparation, base: str, out: Path, say: Tell) -> None:
    name, _, wanted = prior.partition(":")
    if getattr(done.priors, name) is not None and not wanted:
        return
    provider = choose(prior, done.capture)
    for need in provider.needs:
        _make(need, done, base, out, say)
    refined = [r for r in provider.refines if getattr(done.priors, r) is not None]
    upstream = [getattr(done.priors, read).provenance for read in dict.fromkeys((*provider.needs, *refined))]
    inputs = provider.inputs(done.capture)
    key = key_of(base, provider.name, provider.version, provider.makes, upstream, *([] if inputs is None else [inputs]))
    kept = open_kept(out / f".{provider.name}.frames.part", key)
    started = Spent.now()

    def write(directory: Path) -> None:
        stage = f"{' and '.join(provider.makes)} ({provider.name})"
        say(stage, 0, None)
        pixels = sum(int(w) * int(h) * done.capture.times for w, h in done.capture.sizes)
        check_disk(directory, pixels * sum(BYTES_PER_PIXEL.get(made, 0) for made in provider.makes), f"estimating {' and '.join(provider.makes)}")
        with one_blas_thread(), telling(say, stage):
            made = provider.make(done.capture, replace(done.priors, kept=kept))
        for result in made:
            result.check(done.capture.sizes, done.capture.times)
            replace(result, provenance=replace(result.provenance, key=key)).save(directory)

    for unfinished in out.glob(f".{provider.name}.????????.part"):  # of a run that was killed
        shutil.rmtree(unfinished, ignore_errors=True)
    run_stage(out / provider.name, key, write)
    drop_kept(kept)
    for made in refined or provider.makes:
        if made in refined or getattr(done.priors, made) is None or (wanted and made == name):  # by name it also replaces another's by-product
            _accept(done, made, CONTRACTS[made].load(out / provider.name))
    done.spent["+".join(refined or provider.makes)] = started.until_now()


def _accept(done: Preparation, name: str, result: Prior) -> None:
    done.priors = replace(done.priors, **{name: result})
    done.priors.advice += [n for n in result.provenance.notes if n not in done.priors.advice]
    if isinstance(result, contracts.Cameras):
        source = result.provenance.figures["source"]
        done.capture = done.capture.with_cameras(result.K, result.world_to_camera, source)
