"""transforms.json as programs on Windows and phones write it: backslashes, depth in millimetres, stamps, matrices of another shape."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourfold.capture import CaptureOptions
from fourfold.capture.discover import open_source
from fourfold.capture.source import from_opengl
from fourfold.errors import FourfoldError
from rig_folders import HEIGHT, TIMES, VIEWS, WIDTH, Rig


def test_backslashes_are_separators(tmp_path: Path) -> None:
    rig = Rig()
    source = open_source([rig.transforms(tmp_path, lambda v, t: f"sensor{v}\\rgb\\{t:06d}.png")], CaptureOptions(fps=10.0))
    assert (len(source.views), len(source.timestamps)) == (VIEWS, TIMES)
    for v, view in enumerate(source.views):
        np.testing.assert_allclose(view.world_to_camera, rig.world_to_camera[v], atol=1e-9)
        np.testing.assert_array_equal(next(iter(view.frames.decode([3]))), rig.image(v, 3))


@pytest.mark.parametrize("scale", [None, 1.0 / 65535])
def test_nerfcaptures_depth_is_in_metres_and_its_times_count(tmp_path: Path, scale: float | None) -> None:
    rig = Rig(Rig().world_to_camera[:1])
    root = rig.transforms(tmp_path, lambda v, t: f"images/{t}.png", lambda v, t: {"timestamp": 5 + t / 60, "depth_path": f"images/{t}.depth.png"})
    unit = 1e-3 if scale is None else scale
    for t in range(TIMES):
        depth = np.full((HEIGHT // 2, WIDTH // 2), round((0.5 + t / 10) / unit))
        cv2.imwrite(str(root / "images" / f"{t}.depth.png"), depth.astype(np.uint16))
    header = json.loads((root / "transforms.json").read_text())
    (root / "transforms.json").write_text(json.dumps(header | ({} if scale is None else {"integer_depth_scale": scale})))
    source = open_source([root], CaptureOptions())
    np.testing.assert_allclose(source.timestamps, np.arange(TIMES) / 60, atol=1e-9)
    depth = source.views[0].depth
    assert depth is not None
    for t, got in enumerate(depth.decode(range(TIMES))):
        np.testing.assert_allclose(got, 0.5 + t / 10, atol=1e-3)


def test_a_transposed_matrix_is_told_as_that(tmp_path: Path) -> None:
    rig = Rig()
    root = rig.transforms(tmp_path, lambda v, t: f"cam{v}/{t}.png")
    header = json.loads((root / "transforms.json").read_text())
    for frame in header["frames"]:
        frame["transform_matrix"] = np.transpose(frame["transform_matrix"]).tolist()
    (root / "transforms.json").write_text(json.dumps(header))
    with pytest.raises(FourfoldError, match="not 0 0 0 1, as if rows and columns were exchanged"):
        open_source([root], CaptureOptions())


def test_a_pose_without_an_inverse_is_refused_in_a_sentence() -> None:
    with pytest.raises(FourfoldError, match="has no inverse; correct the camera file"):
        from_opengl(np.diag([1.0, 1.0, 0.0, 1.0]))
