"""Options of synthetic captures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NoiseOptions:
    """How strongly the files under `noisy/` are spoilt.

    Attributes:
        depth_relative: deviation of the per-pixel relative error of depth.
        depth_scale: deviation of the log of a global scale and of a relative shift per image, as monocular depth has them.
        depth_holes: share of pixels without depth, in blobs.
        track_pixels: deviation of the error of 2D tracks, pixels.
        track_outliers: share of tracks that jump to another place at one moment and stay there.
        track_metres: deviation of the error of 3D tracks, metres.
        mask_pixels: mean displacement of the mask's border, pixels.
    """

    depth_relative: float = 0.02
    depth_scale: float = 0.05
    depth_holes: float = 0.03
    track_pixels: float = 0.7
    track_outliers: float = 0.05
    track_metres: float = 0.01
    mask_pixels: float = 1.5


@dataclass(frozen=True)
class SyntheticOptions:
    """What to change about a kind; None keeps the kind's own number.

    Attributes:
        frames, width, height: number of moments and image size in pixels (even numbers).
        fps: frames per second.
        heldout_every: held-out views have an image at every n-th moment only.
        supersample: rays per pixel along each axis, for colour.
        shading: strength of the fixed light, 0 to 1; 0 leaves the paint alone.
        tracks: number of tracked points on the figure and, a quarter as many, on the ball.
        bare: write frames only: the capture has no cameras, depth or masks (the truth keeps them).
        noise: also write spoilt depth, masks and tracks under `noisy/`.
    """

    frames: int | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    heldout_every: int | None = None
    supersample: int = 2
    shading: float = 0.2
    tracks: int = 320
    bare: bool = False
    noise: NoiseOptions | None = None
