"""Every layout that can be written reads back: images bit for bit, cameras to 1e-6; and what is cut short gives one sentence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import capture_files as files
from fourfold.capture import Capture, CaptureOptions, prepare_capture
from fourfold.capture.convert import convert
from fourfold.capture.discover import open_source
from fourfold.capture.ingest import write_capture
from fourfold.capture.source import Source, ViewSource, intrinsics
from fourfold.capture.writers import writers
from fourfold.errors import FourfoldError

WIDTH, HEIGHT, TIMES = 32, 24, 4
MOVING = ("nvidia", "dnerf", "nerfstudio", "dycheck", "hypernerf", "colmap", "panoptic")
FIXED = ("n3dv", "easyvolcap", "pose2sim", "exorecon", "nerfstudio", "dycheck", "hypernerf", "colmap", "panoptic")


def _pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    left, _, right = np.linalg.svd(np.eye(3) + 0.2 * rng.normal(size=(3, 3)))
    pose = np.eye(4)
    pose[:3, :3] = left @ right * np.sign(np.linalg.det(left @ right))
    pose[:3, 3] = rng.normal(size=3)
    return pose


class _Frames:
    """Frames in memory."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images = images
        self.size = images[0].shape[1], images[0].shape[0]

    def __len__(self) -> int:
        return len(self.images)

    def decode(self, indices):
        return (self.images[i] for i in indices)


def _capture(folder: Path, kind: str) -> Capture:
    """One moving camera with every moment, or three fixed ones of which the second is held out; masks and depth come along."""
    views = []
    for v in range(1 if kind == "moving" else 3):
        rng = np.random.default_rng(v)
        poses = np.stack([_pose(10 * v + (t if kind == "moving" else 0)) for t in range(TIMES)])
        K = np.repeat(intrinsics(40.0 + v, 40.0 + v, WIDTH / 2, HEIGHT / 2)[None], TIMES, 0)
        masks = [np.where(rng.random((HEIGHT, WIDTH)) > 0.5, 1, -1).astype(np.int8) for _ in range(TIMES)]
        depth = [rng.uniform(1, 5, (HEIGHT, WIDTH)).astype(np.float32) for _ in range(TIMES)]
        images = files.noise(TIMES, WIDTH, HEIGHT, seed=v)
        views.append(ViewSource(f"{v}", _Frames(images), np.arange(TIMES), K, poses, masks=_Frames(masks), depth=_Frames(depth)))
    source = Source("memory", folder, "scene", tuple(views), np.arange(TIMES) / 30.0, "given", True)
    folder.mkdir()
    return write_capture(source, folder, pixels=10_000, holdout="every:2" if kind == "moving" else "cameras:1")


@pytest.fixture(scope="module")
def captures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Capture]:
    root = tmp_path_factory.mktemp("layouts")
    return {kind: _capture(root / kind, kind) for kind in ("moving", "fixed")}


def test_all_layouts_are_tried() -> None:
    assert {w.name for w in writers()} == set(MOVING) | set(FIXED)


def _frames(capture: Capture) -> dict[bytes, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    """K, world_to_camera and mask by the image's bytes: layouts may order and name views and moments as they like."""
    return {
        capture.image(v, t).tobytes(): (capture.K[v, t], capture.world_to_camera[v, t], capture.mask(v, t)) for v, t in np.argwhere(capture.present)
    }


@pytest.mark.parametrize(("kind", "to"), [("moving", n) for n in MOVING] + [("fixed", n) for n in FIXED])
def test_round_trip(captures: dict[str, Capture], tmp_path: Path, kind: str, to: str) -> None:
    capture = captures[kind]
    done = convert(capture, to, tmp_path / to)
    back = prepare_capture([tmp_path / to], tmp_path / "back", pixels=10_000)
    wanted, got = _frames(capture), _frames(back)
    assert len(wanted) == capture.present.sum() and wanted.keys() == got.keys()  # every image, bit for bit
    for image, (K, pose, mask) in wanted.items():
        np.testing.assert_allclose(got[image][0], K, atol=1e-6)
        np.testing.assert_allclose(got[image][1], pose, atol=1e-6)
        if "masks are not stored" not in done.lost:
            np.testing.assert_array_equal(got[image][2], mask)
    lost = " ".join(done.lost)
    if "times are stored as fractions" not in lost:
        np.testing.assert_allclose(back.timestamps, capture.timestamps, atol=2e-5)
    if "held out" not in lost:
        assert _held(back) == _held(capture)
    if "depth are not stored" not in done.lost:
        np.testing.assert_allclose(np.sort(_depths(back)), np.sort(_depths(capture)), rtol=1e-6)


def _held(capture: Capture) -> set[bytes]:
    return {capture.image(v, t).tobytes() for v, t in capture.heldout_frames()}


def _depths(capture: Capture) -> np.ndarray:
    return np.array([d.mean() for v, t in np.argwhere(capture.present) if (d := capture.depth(v, t)) is not None])


@pytest.mark.parametrize("to", [w.name for w in writers()])
def test_cut_files_give_one_sentence_or_are_not_needed(captures: dict[str, Capture], tmp_path: Path, to: str) -> None:
    """Every kind of file of the layout, cut to half its length, one at a time: a FourfoldError of one sentence, or a capture; nothing else."""
    root = tmp_path / to
    convert(captures["moving" if to in MOVING else "fixed"], to, root)
    seen: set[tuple[str, str]] = set()
    refused = 0
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        kind = str(path.parent.relative_to(root)), path.suffix
        if kind in seen:
            continue
        seen.add(kind)
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        try:
            prepare_capture([root], tmp_path / f"out{len(seen)}", pixels=10_000)
        except FourfoldError as error:
            refused += 1
            assert "\n" not in str(error) and str(root) in str(error)
        path.write_bytes(whole)
    assert refused >= 2


def test_what_a_layout_cannot_hold_is_refused(captures: dict[str, Capture], tmp_path: Path) -> None:
    moving, fixed = captures["moving"], captures["fixed"]
    for capture, to, words in (
        (moving, "n3dv", "moves and the layout is of fixed cameras"),
        (fixed, "dnerf", "one training and one test image per moment"),
        (fixed, "nvidia", "one moving camera"),
        (replace(fixed, K=fixed.K + np.eye(3) * [0.0, 1.0, 0.0]), "n3dv", "principal point off the centre"),
        (replace(fixed, K=fixed.K * np.nan), "colmap", "cameras are not known"),
        (fixed, "vhs", "there is no layout 'vhs'"),
    ):
        with pytest.raises(FourfoldError, match=words):
            convert(capture, to, tmp_path / "out")
        assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(FourfoldError, match="exists already"):
        convert(fixed, "colmap", tmp_path / "full")


def test_nvidia_holds_what_a_standing_camera_saw(captures: dict[str, Capture], tmp_path: Path) -> None:
    """A second view that stands where the moving one was at moment 2, as the dataset's held-out images do."""
    first = captures["moving"]
    folder = tmp_path / "both"
    folder.mkdir()
    images = [[np.array(first.image(0, t)) for t in range(TIMES)], files.noise(TIMES, WIDTH, HEIGHT, seed=7)]
    poses = [first.world_to_camera[0], np.repeat(first.world_to_camera[0, 2][None], TIMES, 0)]
    views = tuple(
        ViewSource(name, _Frames(frames), np.arange(TIMES), first.K[0], pose, heldout=np.full(TIMES, name == "camera 2"))
        for name, frames, pose in zip(("moving", "camera 2"), images, poses, strict=True)
    )
    capture = write_capture(
        Source("memory", folder, "scene", views, np.arange(TIMES) / 30.0, "given", False, "camera 2"), folder, pixels=10_000, holdout=None
    )
    convert(capture, "nvidia", tmp_path / "nvidia")
    back = prepare_capture([tmp_path / "nvidia"], tmp_path / "back", pixels=10_000)
    assert back.view_names == ("moving", "camera 2")
    assert back.heldout.all(axis=1).tolist() == [False, True]
    np.testing.assert_array_equal(back.image(1, 3), capture.image(1, 3))
    np.testing.assert_allclose(back.world_to_camera, capture.world_to_camera, atol=1e-9)


def test_exorecon_reads_what_the_published_script_writes(captures: dict[str, Capture], tmp_path: Path) -> None:
    """`w2c` is camera to world, `k` is the fisheye's with its own principal point: the centre of the straightened image counts."""
    import json

    convert(captures["fixed"], "exorecon", tmp_path / "take")
    file = tmp_path / "take" / "trajectory" / "Dy_train_meta.json"
    meta = json.loads(file.read_text())
    np.testing.assert_allclose(np.linalg.inv(np.array(meta["w2c"][0][2])), captures["fixed"].world_to_camera[1, 0], atol=1e-12)
    for row in meta["k"]:
        for k in row:
            k[0][2], k[1][2], k[1][1] = k[0][2] + 3.0, k[1][2] - 2.0, k[1][1] * 1.01
    file.write_text(json.dumps(meta))
    source = open_source([tmp_path / "take"], CaptureOptions())
    np.testing.assert_allclose(source.views[1].K[0], captures["fixed"].K[1, 0], atol=1e-9)


def test_ego_exo4d_videos_with_their_fisheye_calibration(tmp_path: Path) -> None:
    from scipy.spatial.transform import Rotation

    root = tmp_path / "take"
    (root / "frame_aligned_videos").mkdir(parents=True)
    (root / "trajectory").mkdir()
    pose = _pose(3)
    to_world = np.linalg.inv(pose)
    quat = Rotation.from_matrix(to_world[:3, :3]).as_quat()
    columns = ["cam_uid", *(f"t{a}_world_cam" for a in "xyz"), *(f"q{a}_world_cam" for a in "xyzw"), "image_width", "image_height"]
    columns += [f"intrinsics_{i}" for i in range(8)]
    lines = [",".join(columns)]
    for name in ("cam01", "cam02"):
        files.write_video(root / "frame_aligned_videos" / f"{name}.mp4", files.grey_ramp(6), fps=30)
        lines.append(",".join(str(x) for x in (name, *to_world[:3, 3], *quat, 128, 96, 60.0, 61.0, 63.5, 47.5, 0.01, 0.0, 0.0, 0.0)))
    (root / "trajectory" / "gopro_calibs.csv").write_text("\n".join(lines) + "\n")
    (root / "timestep.txt").write_text("2\n")
    source = open_source([root], CaptureOptions())
    assert (source.layout, len(source.views), len(source.timestamps), source.metric) == ("egoexo4d", 2, 4, True)
    np.testing.assert_allclose(source.views[0].world_to_camera[0], pose, atol=1e-9)
    np.testing.assert_allclose(source.views[0].K[0], [[30, 0, 32], [0, 30.5, 24], [0, 0, 1]])  # half the size; centres at whole numbers become +0.5
    assert source.views[0].lens(0).model == "fisheye"
    assert source.views[0].frame_of_time.tolist() == [2, 3, 4, 5]
    (root / "timestep.txt").write_text("soon")
    with pytest.raises(FourfoldError, match=r"timestep\.txt"):
        open_source([root], CaptureOptions())
