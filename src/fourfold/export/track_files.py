"""Tracks of what moves for other programs: a table, animated points, and the marker files of movement laboratories (TRC and C3D)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.axes import metres, y_up, z_up
from fourfold.export.glb import Glb
from fourfold.export.options import ExportOptions, moments
from fourfold.export.pictures import frame_rate
from fourfold.export.tracks import PointTracks, scene_tracks
from fourfold.files import replacing
from fourfold.notices import fallback
from fourfold.scene.scene import Scene

MARKERS = 500  # of a laboratory's file: programs there list every marker
THERE = 0.5  # visibility from which a marker counts as seen
MILLIMETRES = 1000.0


def export_csv(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A line per point and moment: point, seconds, x, y, z in scene units and axes, visibility."""
    tracks = scene_tracks(scene, moments(scene, capture, options))
    with replacing(out) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write("point,time,x,y,z,visibility\n")
        for point in range(len(tracks)):
            for at, time in enumerate(tracks.times.tolist()):
                x, y, z = (float(v) for v in tracks.xyz[point, at])
                file.write(f"{point},{time!r},{x:.9g},{y:.9g},{z:.9g},{float(tracks.visibility[point, at]):.6g}\n")


def export_track_gltf(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """A `.glb` with an empty node per point that moves along its track: metres, y up; at most as many points as a laboratory's file has."""
    tracks, places, seconds = _placed(scene, capture, options, y_up(scene).numpy() * metres(scene))
    nodes = [{"name": f"point {n}", "translation": place[0].tolist()} for n, place in enumerate(places)]
    glb = Glb({"scenes": [{"nodes": list(range(len(nodes)))} if nodes else {}]} | ({"nodes": nodes} if nodes else {}))
    if len(tracks) and len(seconds) > 1:
        keys = glb.add(seconds - seconds[0], bounds=True)
        samplers = [{"input": keys, "output": glb.add(place), "interpolation": "LINEAR"} for place in places]
        channels = [{"sampler": n, "target": {"node": n, "path": "translation"}} for n in range(len(nodes))]
        glb.document["animations"] = [{"name": "tracks", "samplers": samplers, "channels": channels}]
    with replacing(out) as temporary:
        temporary.write_bytes(glb.encode())


def export_trc(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """OpenSim's text of markers: millimetres, y up; empty where a marker is not seen."""
    tracks, places, seconds = _placed(scene, capture, options, y_up(scene).numpy() * _millimetres(scene))
    rate, count = _even_rate(seconds), len(tracks)
    names = [f"p{n}" for n in range(count)]
    with replacing(out) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        file.write(f"PathFileType\t4\t(X/Y/Z)\t{out.name.encode('ascii', 'replace').decode()}\n")
        file.write("DataRate\tCameraRate\tNumFrames\tNumMarkers\tUnits\tOrigDataRate\tOrigDataStartFrame\tOrigNumFrames\n")
        file.write(f"{rate:g}\t{rate:g}\t{len(seconds)}\t{count}\tmm\t{rate:g}\t1\t{len(seconds)}\n")
        file.write("Frame#\tTime\t" + "".join(f"{name}\t\t\t" for name in names) + "\n")
        file.write("\t\t" + "".join(f"X{n}\tY{n}\tZ{n}\t" for n in range(1, count + 1)) + "\n\n")
        for at, time in enumerate(seconds.tolist()):
            cells = [f"{v:.5f}" if tracks.visibility[n, at] >= THERE else "" for n in range(count) for v in places[n, at].tolist()]
            file.write("\t".join([str(at + 1), f"{time:.6f}", *cells]) + "\n")


def export_c3d(scene: Scene, capture: Capture, out: Path, options: ExportOptions) -> None:
    """The laboratories' binary of markers through the library ezc3d: millimetres, z up; a residual of -1 where a marker is not seen."""
    try:
        import ezc3d
    except ImportError as error:
        raise FourfoldError('C3D is written through the library ezc3d: pip install "fourfold[formats]"') from error
    tracks, places, seconds = _placed(scene, capture, options, z_up(scene).numpy() * _millimetres(scene))
    seen = tracks.visibility >= THERE
    points = np.ones((4, len(tracks), len(seconds)))
    points[:3] = np.where(seen[..., None], places, np.nan).transpose(2, 0, 1)
    c3d = ezc3d.c3d()
    for name, value in (("UNITS", ["mm"]), ("LABELS", [f"p{n}" for n in range(len(tracks))]), ("X_SCREEN", ["+X"]), ("Y_SCREEN", ["+Z"])):
        c3d.add_parameter("POINT", name, value)
    c3d["parameters"]["POINT"]["RATE"]["value"] = [_even_rate(seconds)]
    c3d["data"]["points"] = points
    c3d["data"]["meta_points"]["residuals"] = np.where(seen, 0.0, -1.0)[None]
    with replacing(out) as temporary:
        named = temporary.with_name(f"{temporary.name}.c3d")  # the library wants its suffix
        c3d.write(str(named))
        named.replace(temporary)


def spread(tracks: PointTracks, most: int) -> PointTracks:
    """At most `most` of the tracks, evenly over their list: what makes the scene has no order, so this is a fair choice."""
    if len(tracks) <= most:
        return tracks
    kept = np.linspace(0, len(tracks) - 1, most).round().astype(int)
    color = None if tracks.color is None else tracks.color[kept]
    return replace(tracks, xyz=tracks.xyz[kept], visibility=tracks.visibility[kept], color=color)


def _placed(
    scene: Scene, capture: Capture, options: ExportOptions, transform: NDArray[np.float64]
) -> tuple[PointTracks, NDArray[np.float64], NDArray[np.float64]]:
    """Chosen tracks, their places (P, T, 3) in the other program's axes and units, and seconds (T,)."""
    tracks = spread(scene_tracks(scene, moments(scene, capture, options)), MARKERS)
    return tracks, tracks.xyz.astype(np.float64) @ transform.T, tracks.times


def _millimetres(scene: Scene) -> float:
    """Millimetres per unit; said where that is a guess."""
    if scene.scale is None:
        fallback("the scale of this scene is not known: in the file one unit is called a metre")
    return MILLIMETRES * metres(scene)


def _even_rate(seconds: NDArray[np.float64]) -> float:
    """Frames per second; said where they are not evenly spaced, which marker files cannot tell."""
    steps = np.diff(seconds)
    if len(steps) and steps.max() > 1.02 * steps.min():
        fallback("the moments of this capture are not evenly spaced, and marker files know one rate only: give --frames for even ones")
    return frame_rate(seconds)
