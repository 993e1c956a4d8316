"""Follow points of one frame through a run's scene."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.arguments import MaybeOut
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Track(Command):
    """Follow points of one filmed frame to all other moments, in 2D and 3D: a drawn video and an .npz."""

    run_folder: Positional[Path]
    """The run's folder."""

    points: tuple[tuple[float, float], ...] = ()
    """Pixels x y of the frame; without any, a grid over what moves there."""

    frame: int | None = None
    """Number of the frame; the middle one by default."""

    view: int = 0
    """Which camera."""

    spacing: int = 8
    """Pixels between the points of the grid."""

    out: MaybeOut = None
    """Folder for tracks.npz and tracks.mp4; RUN/exports/tracks by default."""

    def run(self) -> Result:
        import numpy as np
        import torch

        from fourfold.cli.arguments import check_positive, check_view
        from fourfold.errors import FourfoldError
        from fourfold.export.drawing import draw_tracks
        from fourfold.export.paths import camera_between
        from fourfold.export.pictures import frame_rate
        from fourfold.export.queries import moving_grid
        from fourfold.export.tracking import track_points
        from fourfold.export.tracks import save_tracks
        from fourfold.export.video import write_mp4
        from fourfold.pipeline import Run

        run = Run(self.run_folder)
        capture, out = run.capture, self.out or self.run_folder / "exports" / "tracks"
        check_view(capture, self.view)
        check_positive(spacing=self.spacing)
        shown = [int(t) for t in np.flatnonzero(capture.present[self.view])]
        at = self.frame if self.frame is not None else shown[len(shown) // 2]
        if at not in shown:
            raise FourfoldError(f"view {self.view} has no frame {at}: it has {len(shown)} frames from {shown[0]} to {shown[-1]}")
        views = [(float(capture.timestamps[t]), camera_between(capture, self.view, float(capture.timestamps[t]))) for t in shown]
        query = (float(capture.timestamps[at]), camera_between(capture, self.view, float(capture.timestamps[at])))
        pixels = torch.tensor(self.points) if self.points else moving_grid(run.scene, query, self.spacing)
        tracks = track_points(run.scene, query, pixels, views)
        save_tracks(out / "tracks.npz", tracks)
        frames = np.stack([capture.image(self.view, t) for t in shown])
        write_mp4(out / "tracks.mp4", draw_tracks(frames, tracks), frame_rate(capture.timestamps))
        return Result({"points": len(pixels), "frame": at, "tracks": out / "tracks.npz", "video": out / "tracks.mp4"})
