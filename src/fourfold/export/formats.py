"""Every way to hand a scene to somebody, as data. A new format is a new entry and the function that it names."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from fourfold.errors import FourfoldError

if TYPE_CHECKING:
    from fourfold.capture.capture import Capture
    from fourfold.export.options import ExportOptions, Writer
    from fourfold.export.packing import PackingError
    from fourfold.scene.scene import Scene


@dataclass(frozen=True)
class Format:
    """One format.

    Attributes:
        function: module below `fourfold.export` and name of its `Writer`, imported when it is asked for.
        default_name: what it is called inside `exports/` unless told otherwise.
        about: what it is for.
    """

    function: str
    default_name: str
    about: str

    def write(self, scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> PackingError | None:
        """Write `scene` to `out`, atomically."""
        module, name = self.function.split(":")
        writer: Writer = getattr(import_module(f"fourfold.export.{module}"), name)
        return writer(scene, capture, out, options)


def export(name: str, scene: Scene, capture: Capture, out: Path, options: ExportOptions | None = None) -> PackingError | None:
    """Write `scene` in the format `name` to `out` (a file, or a folder for sequences), atomically; returns what that lost, where it was measured.

    Raises:
        FourfoldError: there is no such format, or it cannot hold this scene.
    """
    from fourfold.export.options import ExportOptions

    return find_format(name).write(scene, capture, Path(out), options or ExportOptions())


def find_format(name: str) -> Format:
    """The format of that name. FourfoldError with the list if there is none."""
    if name not in FORMATS:
        raise FourfoldError(f"there is no export format {name!r}: choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def formats_list() -> str:
    """One line per format, for help texts."""
    return "; ".join(f"{name} ({entry.about})" for name, entry in FORMATS.items())


FORMATS: dict[str, Format] = {
    "scene": Format("moving:export_scene", "scene.safetensors", "the whole moving scene, for Fourfold"),
    "4dgs": Format("moving:export_4dgs", "scene.4dgs", "the whole moving scene, for readers of .4dgs"),
    "gltf": Format("gltf_splats:export_gltf", "scene.glb", "the moving scene as glTF with KHR_gaussian_splatting, a mesh per moment"),
    "usd": Format("usd:export_usd", "scene.usdc", "the moving scene as USD Gaussian splats with time samples"),
    "splatv": Format("splatv:export_splatv", "scene.splatv", "the moving scene as one cubic per Gaussian, for splaTV and gsplat.js"),
    "ply": Format("moment_files:export_ply", "scene.ply", "one moment, for every splat viewer"),
    "compressed-ply": Format("moment_files:export_compressed_ply", "scene.compressed.ply", "one moment, a quarter as large, for SuperSplat"),
    "spz": Format("moment_files:export_spz", "scene.spz", "one moment, a tenth as large, for Niantic's and many other viewers"),
    "spz4": Format("spz4:export_spz4", "scene.v4.spz", "the same, version 4 of the format, smaller still"),
    "sog": Format("moment_files:export_sog", "scene.sog", "one moment, a tenth as large, for PlayCanvas"),
    "ply-sequence": Format("ply_sequence:export_sequence", "sequence", "a folder of PLY files that SuperSplat plays"),
    "tracks": Format("tracks:export_tracks", "tracks.npz", "3D trajectories of what moves, for NumPy"),
    "tracks-csv": Format("track_files:export_csv", "tracks.csv", "the same as a table"),
    "tracks-gltf": Format("track_files:export_track_gltf", "tracks.glb", "the same as moving points, for Blender and others"),
    "trc": Format("track_files:export_trc", "tracks.trc", "the same as markers, for OpenSim"),
    "c3d": Format("track_files:export_c3d", "tracks.c3d", "the same as markers, for movement laboratories"),
    "mp4": Format("pictures:export_mp4", "render.mp4", "a video along a camera path"),
    "webm": Format("pictures:export_webm", "render.webm", "the same with transparency if asked for"),
    "gif": Format("pictures:export_gif", "render.gif", "the same in 256 colours"),
    "png": Format("pictures:export_pngs", "frames", "a folder of pictures along a camera path"),
    "depth": Format("depth:export_depth", "depth", "a folder of 16-bit PNG depth along a camera path"),
    "depth-exr": Format("depth:export_depth_exr", "depth_exr", "a folder of EXR depth along a camera path"),
    "nerfstudio": Format("cameras:export_nerfstudio", "transforms.json", "the camera path for nerfstudio"),
    "colmap": Format("cameras:export_colmap", "cameras_colmap", "the camera path as a COLMAP model"),
    "camera-gltf": Format("cameras:export_camera_gltf", "camera.glb", "the camera path as a moving glTF camera, for Blender"),
    "html": Format("moving:export_player", "player.html", "a player in one file, for any browser"),
}
