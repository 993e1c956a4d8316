"""Make a synthetic capture on disk: frames, cameras, depth, masks, and the truth beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic.figure import walk
from fourfold.capture.synthetic.kinds import KINDS, Kind
from fourfold.capture.synthetic.noise import write_noisy
from fourfold.capture.synthetic.options import SyntheticOptions
from fourfold.capture.synthetic.raycast import Eye, colour, trace
from fourfold.capture.synthetic.rigs import Rig
from fourfold.capture.synthetic.solids import Solid
from fourfold.capture.synthetic.tracks import make_truth
from fourfold.capture.synthetic.truth import TRUTH
from fourfold.errors import FourfoldError
from fourfold.files import replacing

VIDEO = "video.mp4"
EXPOSURE_HZ = (0.35, 0.8, 1.7)  # of an automatic exposure that hunts


def generate(kind: str, out: Path, *, seed: int = 0, options: SyntheticOptions = SyntheticOptions()) -> Capture:
    """Ray-cast the capture `kind` (a key of `KINDS`) into the directory `out` and open it.

    A figure walks, waves and breathes beside a hopping ball in a painted room; units are metres, the world's y axis points down, the
    floor is y = 0. Beside the `Capture` layout there is `truth/` (see `Truth`), for one-camera kinds `video.mp4` (view 0, H.264), and
    with `options.noise` spoilt priors under `noisy/`. The same kind, seed and options give the same bytes; another seed changes the
    paint, the tremor of the hand and which points are tracked, not what happens.

    FourfoldError for an unknown kind, sizes that cannot be, or an `out` that holds something else.
    """
    chosen = _resolve(kind, options)
    out = Path(out)
    if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / TRUTH).is_dir())):
        raise FourfoldError(f"{out} exists and is no synthetic capture: name another directory with -o")
    seconds = np.arange(chosen.frames) / chosen.fps
    room_rng, mover_rng, rig_rng, track_rng, noise_rng, gain_rng = np.random.default_rng(seed).spawn(6)
    rig = chosen.build(seconds, walk(seconds)[0], rig_rng)
    solids = chosen.stage(room_rng, mover_rng, seconds, _wall_texel(chosen), 32 if chosen.width <= 160 else 96)
    eyes = _eyes(chosen, rig)
    with replacing(out) as root:
        root.mkdir()
        capture = _header(kind, root, chosen, rig, seed, options)
        shot = np.searchsorted(rig.cuts, np.arange(seconds.size), side="right").astype(np.int32)
        truth = replace(make_truth(solids, eyes, seconds, track_rng, options.tracks), shot=shot, gain=_gains(chosen, rig, seconds, gain_rng))
        truth.save(root)
        for view, row in enumerate(eyes):
            _render_view(root, view, solids, row, truth.gain[view] * capture.present[view], options)
        if options.noise is not None:
            write_noisy(root, truth, capture.views, options.noise, noise_rng)
        if chosen.video:
            write_video(root / VIDEO, np.load(root / "frames_000.npy", mmap_mode="r"), chosen.fps)
        capture.save()
    return replace(capture, root=out)


def _resolve(kind: str, options: SyntheticOptions) -> Kind:
    if kind not in KINDS:
        raise FourfoldError(f"there is no synthetic capture {kind!r}: choose one of {', '.join(KINDS)}")
    names = ("frames", "width", "height", "fps", "heldout_every")
    chosen = replace(KINDS[kind], **{k: getattr(options, k) for k in names if getattr(options, k) is not None})
    if chosen.frames < 1 or chosen.fps <= 0 or chosen.heldout_every < 1 or options.supersample < 1 or options.tracks < 2:
        raise FourfoldError(
            "a synthetic capture needs at least 1 frame, 2 tracks and positive fps, heldout_every and supersample, "
            f"got {chosen.frames}, {options.tracks}, {chosen.fps}, {chosen.heldout_every} and {options.supersample}"
        )
    if min(chosen.width, chosen.height) < 16 or chosen.width % 2 or chosen.height % 2:
        raise FourfoldError(
            f"a synthetic image is at least 16 pixels wide and high, in even numbers, got {chosen.width} x {chosen.height}: choose others"
        )
    return chosen


def _wall_texel(kind: Kind) -> float:
    """Size of a wall texel, metres: about a pixel at 2.5 m, between 1 and 2.5 cm (the paint itself holds nothing finer than 3 cm)."""
    return float(np.clip(2.5 / (kind.focal * kind.width), 0.01, 0.025))


def _eyes(kind: Kind, rig: Rig) -> list[list[Eye]]:
    focal = kind.focal * kind.width
    K = np.array([[focal, 0, kind.width / 2], [0, focal, kind.height / 2], [0, 0, 1.0]])
    return [[Eye(K, pose, kind.width, kind.height) for pose in row] for row in rig.world_to_camera]


def _header(name: str, root: Path, kind: Kind, rig: Rig, seed: int, options: SyntheticOptions) -> Capture:
    views = rig.heldout.size
    present = np.ones((views, kind.frames), bool)
    present[rig.heldout] = np.arange(kind.frames) % kind.heldout_every == 0
    K = np.tile(_eyes(kind, rig)[0][0].K, (views, kind.frames, 1, 1))
    unknown = np.nan if options.bare else 1.0
    return Capture(
        root=root,
        K=K * unknown,
        world_to_camera=rig.world_to_camera * unknown,
        timestamps=np.arange(kind.frames) / kind.fps,
        sizes=np.tile(np.array([kind.width, kind.height], np.int64), (views, 1)),
        present=present,
        train=present & ~rig.heldout[:, None],
        heldout=present & rig.heldout[:, None],
        cameras="unknown" if options.bare else "given",
        metric=not options.bare,
        name=f"synth_{name}",
        view_names=rig.names,
        facts={"source": "synthetic", "kind": name, "seed": seed, "fps": kind.fps, "up": [0.0, -1.0, 0.0]},
    )


def _gains(kind: Kind, rig: Rig, seconds: NDArray[np.floating[Any]], rng: np.random.Generator) -> NDArray[np.float64]:
    """(V, T) what the colours of each image are multiplied by: slow waves where a camera films with an exposure that wanders, else 1."""
    phase = rng.uniform(0, 2 * np.pi, (len(EXPOSURE_HZ), 1))
    waves = np.sin(2 * np.pi * np.array(EXPOSURE_HZ)[:, None] * seconds + phase).sum(0) * np.sqrt(2 / len(EXPOSURE_HZ))
    return np.where(rig.heldout[:, None], 1.0, np.exp(kind.exposure * waves))


def _render_view(root: Path, view: int, solids: Sequence[Solid], eyes: Sequence[Eye], gain: NDArray[np.float64], options: SyntheticOptions) -> None:
    """Write frames, masks and depth of one view; black, 0 and 0 where `gain` (T,) is 0, which is where it has no image."""
    shape = (len(eyes), eyes[0].height, eyes[0].width)
    exact = root / TRUTH if options.bare else root
    frames = _create(root / f"frames_{view:03d}.npy", np.uint8, (*shape, 3))
    masks = _create(exact / f"masks_{view:03d}.npy", np.int8, shape)
    depth = _create(exact / f"depth_{view:03d}.npy", np.float32, shape)
    moving = np.array([s.object_id > 0 for s in solids])
    for moment in np.flatnonzero(gain):
        eye = eyes[moment]
        frames[moment] = colour(solids, moment, eye, options.supersample, options.shading, float(gain[moment]))
        distance, owner = trace(solids, moment, eye, *eye.grid(1, np.float64))
        masks[moment] = np.where(moving[owner], 1, -1)
        depth[moment] = distance
    for array in (frames, masks, depth):
        array.flush()


def _create(path: Path, dtype: type[Any], shape: tuple[int, ...]) -> np.memmap[Any, Any]:
    return open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def write_video(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Encode frames (T, H, W, 3) RGB as H.264 of high quality, playable anywhere."""
    from fractions import Fraction

    import av

    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.options = {"crf": "10", "preset": "medium", "threads": "1", "flags": "+bitexact"}
        for image in frames:
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
