"""Synthetic captures: layout, exact truth against depth, masks and colours, camera angles, and a structure-from-motion sanity check."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from fourfold.capture.capture import Capture
from fourfold.capture.synthetic import KINDS, NoiseOptions, SyntheticOptions, Truth, generate, truth_image
from fourfold.capture.synthetic.room import HALF_DEPTH, HALF_WIDTH, HEIGHT
from fourfold.errors import FourfoldError

TINY = SyntheticOptions(frames=6, width=96, height=64, fps=6.0, tracks=120)


@pytest.fixture(scope="module")
def casual(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """A clip of 24 frames at the default size, without light, with few held-out images."""
    out = tmp_path_factory.mktemp("synthetic") / "casual"
    return generate("casual", out, seed=3, options=SyntheticOptions(frames=24, heldout_every=8, shading=0.0))


@pytest.fixture(scope="module")
def truth(casual: Capture) -> Truth:
    return Truth.load(casual.root)


def digests(root: Path) -> dict[str, str]:
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(root.rglob("*")) if p.is_file()}


def pixel_rays(capture: Capture, view: int, moment: int) -> tuple[np.ndarray, np.ndarray]:
    """Camera centre (3,) and world directions (H, W, 3) with unit depth."""
    width, height = capture.sizes[view]
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    in_camera = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(capture.K[view, moment]).T
    pose = capture.world_to_camera[view, moment]
    return -pose[:3, :3].T @ pose[:3, 3], in_camera @ pose[:3, :3]


def visible_pixels(truth: Truth, view: int, moment: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices (n,) of the visible points and their integer pixels (n, 2)."""
    seen = np.flatnonzero(truth.visibility[view, :, moment])
    return seen, np.floor(truth.xy[view, seen, moment]).astype(int)


def test_same_seed_same_bytes_other_seed_other_pictures(tmp_path: Path) -> None:
    options = SyntheticOptions(frames=3, width=64, height=48, tracks=20, noise=NoiseOptions())
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        generate("casual", tmp_path / name, seed=seed, options=options)
    first, again, other = (digests(tmp_path / n) for n in "abc")
    assert first == again
    assert {"video.mp4", "truth/truth.safetensors", "noisy/tracks.safetensors", "frames_000.npy", "depth_001.npy"} <= set(first)
    assert all(first[k] != other[k] for k in ("frames_000.npy", "depth_000.npy", "truth/truth.safetensors", "noisy/depth_000.npy"))


def test_capture_opens_with_every_part(casual: Capture) -> None:
    loaded = Capture.load(casual.root)
    assert (loaded.views, loaded.times, loaded.cameras, loaded.metric) == (2, 24, "given", True)
    assert np.array_equal(loaded.K, casual.K) and np.array_equal(loaded.world_to_camera, casual.world_to_camera)
    assert loaded.train[0].all() and not loaded.train[1].any()
    assert np.flatnonzero(loaded.heldout[1]).tolist() == [0, 8, 16] and not loaded.heldout[0].any()
    assert np.allclose(np.diff(loaded.timestamps), 1 / 24) and loaded.timestamps[0] == 0
    assert loaded.image(0, 5).shape == (180, 320, 3) and loaded.image(0, 5).std() > 30
    assert set(np.unique(loaded.mask(0, 5))) == {-1, 1} and 0.04 < np.mean(loaded.mask(0, 5) > 0) < 0.4
    rotation = loaded.world_to_camera[..., :3, :3]
    assert np.allclose(rotation @ rotation.swapaxes(-1, -2), np.eye(3), atol=1e-12) and np.allclose(np.linalg.det(rotation), 1)


def test_background_depth_is_the_distance_to_the_planes_of_the_room(casual: Capture) -> None:
    centre, rays = pixel_rays(casual, 0, 7)
    low, high = np.array([-HALF_WIDTH, -HEIGHT, -HALF_DEPTH]), np.array([HALF_WIDTH, 0, HALF_DEPTH])
    planes = np.where(rays > 0, (high - centre) / rays, (low - centre) / rays).min(-1)
    depth, mask = casual.depth(0, 7), casual.mask(0, 7)
    assert (depth <= planes * (1 + 1e-6)).all()
    same = np.isclose(depth, planes, rtol=1e-6)
    assert same[mask < 0].mean() > 0.6
    assert not same[mask > 0].any()


def around(image: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """(9, n) values of the pixels (n, 2) and their neighbours: a silhouette may pass between a point and the centre of its pixel."""
    return np.stack([image[pixel[:, 1] + j, pixel[:, 0] + i] for j in (-1, 0, 1) for i in (-1, 0, 1)])


def test_visible_points_project_where_depth_and_mask_say_so(casual: Capture, truth: Truth) -> None:
    for view, moment in ((0, 0), (0, 11), (0, 23), (1, 8)):
        seen, pixel = visible_pixels(truth, view, moment)
        inner = ((pixel >= 1) & (pixel < casual.sizes[view] - 1)).all(1)
        near, depth = around(casual.depth(view, moment), pixel[inner]), truth.depth[view, seen[inner], moment]
        assert inner.sum() > 100
        assert np.mean((near.min(0) - 0.004 <= depth) & (depth <= near.max(0) + 0.004)) > 0.985
        masks = around(casual.mask(view, moment), pixel[inner]) > 0
        assert masks.any(0).all() and masks[4].mean() > 0.85


def test_hidden_points_lie_behind_what_is_seen(casual: Capture, truth: Truth) -> None:
    xy, size = truth.xy[0, :, 11], casual.sizes[0]
    hidden = ~truth.visibility[0, :, 11] & ((xy >= 1) & (xy < size - 1)).all(1)
    in_front = around(casual.depth(0, 11), np.floor(xy[hidden]).astype(int)) < truth.depth[0, hidden, 11] - 1e-3
    assert hidden.sum() > 50 and in_front.any(0).mean() > 0.98 and in_front[4].mean() > 0.85


def test_masked_pixels_are_where_the_tracked_objects_are(casual: Capture, truth: Truth) -> None:
    centre, rays = pixel_rays(casual, 0, 11)
    inside = casual.mask(0, 11) > 0
    points = centre + rays[inside] * casual.depth(0, 11)[inside][:, None]
    nearest = np.linalg.norm(points[:, None] - truth.xyz[None, :, 11], axis=-1).min(1)
    assert np.quantile(nearest, 0.99) < 0.15
    outside = (casual.mask(0, 11) < 0)[::5, ::5]
    background = centre + rays[::5, ::5][outside] * casual.depth(0, 11)[::5, ::5][outside][:, None]
    assert np.median(np.linalg.norm(background[:, None] - truth.xyz[None, :, 11], axis=-1).min(1)) > 0.5


def test_paint_moves_with_the_surface(casual: Capture, truth: Truth) -> None:
    errors, shuffled = [], []
    for moment in (0, 8, 16, 23):
        seen, _ = visible_pixels(truth, 0, moment)
        xy = (truth.xy[0, seen, moment] - 0.5).astype(np.float32)
        image = casual.image(0, moment).astype(np.float32) / 255
        colours = cv2.remap(image, xy[None, :, 0], xy[None, :, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)[0]
        errors.append(np.abs(colours - truth.color[seen]).mean(1))
        shuffled.append(np.abs(colours - np.roll(truth.color[seen], seen.size // 3, axis=0)).mean(1))
    assert np.median(np.concatenate(errors)) < 0.05
    assert np.median(np.concatenate(shuffled)) > 3 * np.median(np.concatenate(errors))


def test_movers_bend_and_stretch(truth: Truth) -> None:
    figure = truth.object_id == 1
    assert set(truth.objects) == {1, 2} and figure.sum() == 320 and (~figure).sum() == 80
    assert 1.4 < truth.diameter[0] < 1.9 and 0.3 < truth.diameter[1] < 0.45
    assert np.linalg.norm(np.diff(truth.xyz, axis=1), axis=-1).max() < 0.2
    changes = []
    for part in np.unique(truth.part):
        points = truth.xyz[truth.part == part]
        lengths = np.linalg.norm(points[:, None] - points[None], axis=-1)
        far = lengths[..., 0] > 0.1
        changes.append(float((np.ptp(lengths[far], axis=-1) / lengths[far][:, 0]).max()) if far.any() else 0.0)
    assert max(changes) > 0.08 and min(changes) < 1e-9


def test_matches_of_neighbouring_frames_obey_the_true_epipolar_geometry(casual: Capture) -> None:
    """24 frames span the arc that 48 span by default, so five frames here are the ten of the default clip."""
    first, second = 6, 11
    sift = cv2.SIFT_create(2000)
    grey = [cv2.cvtColor(np.ascontiguousarray(casual.image(0, t)), cv2.COLOR_RGB2GRAY) for t in (first, second)]
    (points_a, a), (points_b, b) = (
        sift.detectAndCompute(g, np.where(casual.mask(0, t) < 0, 255, 0).astype(np.uint8)) for g, t in zip(grey, (first, second), strict=True)
    )
    pairs = [m for m, n in cv2.BFMatcher().knnMatch(a, b, k=2) if m.distance < 0.75 * n.distance]
    x, y = np.array([points_a[m.queryIdx].pt for m in pairs]) + 0.5, np.array([points_b[m.trainIdx].pt for m in pairs]) + 0.5
    relative = casual.world_to_camera[0, second] @ np.linalg.inv(casual.world_to_camera[0, first])
    cross = np.cross(np.eye(3), relative[:3, 3]).T
    inverse = np.linalg.inv(casual.K[0, 0])
    F = inverse.T @ cross.T @ relative[:3, :3] @ inverse
    x, y = np.c_[x, np.ones(len(x))], np.c_[y, np.ones(len(y))]
    line_b, line_a = x @ F.T, y @ F
    sampson = np.abs((y * line_b).sum(1)) / np.sqrt((line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1))
    assert len(pairs) > 150
    assert np.median(sampson) < 0.5 and np.mean(sampson < 2) > 0.85
    assert np.linalg.norm(relative[:3, 3]) > 0.2


def test_video_shows_view_zero(casual: Capture) -> None:
    import av

    with av.open(str(casual.root / "video.mp4")) as container:
        assert float(container.streams.video[0].average_rate) == 24
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(frames) == 24
    error = np.mean((frames[9].astype(float) - casual.image(0, 9)) ** 2)
    assert 10 * np.log10(255**2 / error) > 28


def angles(truth: Truth, view: int, other: int, about: np.ndarray) -> np.ndarray:
    """(T,) horizontal angles in degrees, 0 to 180, between two views as seen from `about` (T, 3)."""
    pose = truth.world_to_camera[[view, other]]
    centre = -np.einsum("vtji,vtj->vti", pose[..., :3, :3], pose[..., :3, 3]) - about
    azimuth = np.arctan2(centre[..., 0], centre[..., 2])
    return np.abs(np.degrees((azimuth[0] - azimuth[1] + np.pi) % (2 * np.pi) - np.pi))


@pytest.mark.parametrize("kind", ["casual", "dense_rig", "orbit360", "sparse_fixed", "sparse_moving"])
def test_every_kind_keeps_its_promise(kind: str, tmp_path: Path) -> None:
    capture = generate(kind, tmp_path / kind, seed=1, options=SyntheticOptions(frames=5, width=32, height=24, tracks=100, supersample=1))
    truth, heldout = Truth.load(capture.root), capture.heldout.any(1)
    middle = np.zeros((5, 3))
    still = np.ptp(truth.world_to_camera, axis=1).max((1, 2)) < 1e-12
    if kind == "casual":
        between = angles(truth, 0, 1, np.array([truth.xyz[truth.object_id == 1, t].mean(0) for t in range(5)]))
        assert heldout.tolist() == [False, True] and (between > 10).all() and (between < 20).all()
    elif kind == "orbit360":
        assert np.allclose([angles(truth, 0, v, middle).mean() for v in (1, 2, 3)], [45, 90, 135], atol=1e-6)
        assert np.allclose(angles(truth, 0, 0, middle), 0) and not still.any()
        around = np.sort(np.degrees(np.arctan2(*np.linalg.inv(truth.world_to_camera[0])[:, [0, 2], 3].T)))
        assert np.diff(around, append=around[0] + 360).max() < 80
    elif kind == "sparse_fixed":
        assert still.all() and heldout.tolist() == [False] * 4 + [True]
        assert np.allclose([angles(truth, 0, v, middle)[0] for v in (1, 2, 3, 4)], [90, 180, 90, 45])
    elif kind == "sparse_moving":
        assert still.tolist() == [False, False, False, True] and heldout.tolist() == still.tolist()
    else:
        assert still.all() and heldout.sum() == 4 and heldout.size == 20
        assert all(min(angles(truth, v, w, middle)[0] for w in range(16)) < 18.1 for v in range(16, 20))
    assert (truth.visibility[:, truth.object_id == 1].mean((1, 2)) > 0.15).all()
    assert (capture.root / "video.mp4").exists() == KINDS[kind].video


def test_bare_capture_keeps_what_is_known_in_the_truth_only(tmp_path: Path) -> None:
    bare = generate("casual", tmp_path / "bare", options=SyntheticOptions(frames=2, width=64, height=48, tracks=8, bare=True))
    full = generate("casual", tmp_path / "full", options=SyntheticOptions(frames=2, width=64, height=48, tracks=8))
    assert bare.cameras == "unknown" and np.isnan(bare.world_to_camera).all() and np.isnan(bare.K).all()
    assert not bare.has("depth") and not bare.has("masks")
    assert np.array_equal(bare.image(0, 1), full.image(0, 1))
    assert np.array_equal(Truth.load(bare.root).world_to_camera, full.world_to_camera)
    assert np.array_equal(truth_image(bare.root, "depth", 1), truth_image(full.root, "depth", 1))


def test_errors_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(FourfoldError, match="no synthetic capture 'casaul': choose one of casual, orbit360"):
        generate("casaul", tmp_path / "x")
    with pytest.raises(FourfoldError, match="even numbers, got 33 x 24"):
        generate("casual", tmp_path / "x", options=SyntheticOptions(width=33, height=24))
    with pytest.raises(FourfoldError, match="at least 1 frame"):
        generate("casual", tmp_path / "x", options=SyntheticOptions(frames=0))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    with pytest.raises(FourfoldError, match="exists and is no synthetic capture"):
        generate("casual", tmp_path / "mine", options=TINY)
    assert (tmp_path / "mine" / "letter.txt").exists() and not (tmp_path / "x").exists()
    with pytest.raises(FourfoldError, match="holds no synthetic truth"):
        Truth.load(tmp_path / "mine")


def test_the_truth_of_some_moments(truth) -> None:
    seconds = truth.timestamps[[0, 3, 4]]
    part = truth.at(seconds)
    assert np.array_equal(part.timestamps, seconds) and np.array_equal(part.xyz, truth.xyz[:, [0, 3, 4]])
    for name in ("visibility", "xy", "depth"):
        assert np.array_equal(getattr(part, name), getattr(truth, name)[:, :, [0, 3, 4]], equal_nan=name == "xy"), name
    assert np.array_equal(part.world_to_camera, truth.world_to_camera[:, [0, 3, 4]]) and np.array_equal(part.local, truth.local)
