"""Render a run along a camera path."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from fourfold.cli.arguments import MaybeOut
from fourfold.cli.frame import Command, Result


@dataclass(frozen=True, kw_only=True)
class Render(Command):
    """Render a run's scene along a camera path as an MP4, or as PNGs if the output has no .mp4 suffix."""

    run_folder: Positional[Path]
    """The run's folder."""

    path: str = "orbit"
    """input, steady, orbit, wiggle, bullet-time, turntable, or a JSON file with a list of {"time", "world_to_camera"}."""

    out: MaybeOut = None
    """The MP4 or the folder of PNGs; RUN/renders/PATH.mp4 by default."""

    amplitude: float = 0.25
    """How far the camera leaves the filmed path, as a fraction of the object's depth."""

    frames: int | None = None
    """Length of the path; the number of filmed moments by default."""

    view: int = 0
    """The filmed camera that the path follows."""

    fps: float | None = None
    """Frames per second; the capture's by default."""

    scale: float = 1.0
    """Image size as a factor on the capture's."""

    movers: bool = False
    """Draw the moving objects alone, on white: from behind, the surroundings hide what was filmed from the front."""

    device: str = "cpu"
    """Where to render: cpu or cuda."""

    def run(self) -> Result:
        from fourfold.cli.arguments import check_positive, check_view
        from fourfold.export.paths import PathOptions, camera_path
        from fourfold.export.pictures import draw, frame_rate
        from fourfold.export.video import write_mp4, write_pngs
        from fourfold.pipeline import Run
        from fourfold.scene.edits.parts import movers_alone
        from fourfold.scene.file import load_scene
        from fourfold.training.trainer import choose_device

        run = Run(self.run_folder)
        check_view(run.capture, self.view)
        check_positive(frames=self.frames, fps=self.fps, scale=self.scale)
        file = Path(self.path) if self.path.endswith(".json") else None
        options = PathOptions(self.amplitude, self.frames, self.view, file)
        scene = load_scene(self.run_folder / "scene.safetensors", str(choose_device(self.device)))
        name = "json" if file is not None else self.path
        scene = movers_alone(scene) if self.movers else scene
        views = camera_path(name, scene, run.capture, options)
        out = self.out or self.run_folder / "renders" / f"{Path(self.path).stem}.mp4"
        pictures = (draw(scene, (time, camera.scaled(self.scale))) for time, camera in views)
        count = write_mp4(out, pictures, self.fps or frame_rate(run.capture.timestamps)) if out.suffix == ".mp4" else write_pngs(out, pictures)
        return Result({"path": self.path, "frames": count, "out": out})
