"""Protocols: co-visibility on synthetic truth, cameramen, novel views and times, and a whole protocol on an analytic scene."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fourfold.capture.holdout import split
from fourfold.capture.source import Source, ViewSource
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.errors import FourfoldError
from fourfold.evaluation import metrics, novel_views
from fourfold.evaluation.image_metrics.learned import Learned, clip_over_time, clip_similarity, lpips
from fourfold.evaluation.protocols.catalogue import PROTOCOLS, find_protocol
from fourfold.evaluation.protocols.covisibility import DepthView, Reprojection, cameramen, covisible_by_depth, covisible_by_flow, least_views
from fourfold.evaluation.protocols.regions import Evidence, mask_source, regions_of
from fourfold.evaluation.protocols.score import score_protocol
from fourfold.geometry.gaussians import Gaussians

UNCLEANED = Reprojection(clean=())


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    options = SyntheticOptions(frames=6, width=96, height=64, supersample=1, tracks=8)
    return generate("sparse_moving", tmp_path_factory.mktemp("synth") / "capture", options=options)


def _view(capture, view, index, depth=True):
    shape = tuple(int(n) for n in capture.sizes[view][::-1])
    return DepthView(
        capture.K[view, index], capture.world_to_camera[view, index], capture.depth(view, index) if depth else np.zeros(shape, np.float32)
    )


def _truly_seen(capture, test, others, index):
    """By exact depth both ways: a test pixel's point lands on another view's surface."""
    one = _view(capture, test, index)
    ys, xs = np.mgrid[: one.depth.shape[0], : one.depth.shape[1]]
    rays = np.stack([xs + 0.5, ys + 0.5, np.ones_like(xs)], -1) @ np.linalg.inv(one.K).T
    world = np.concatenate([rays * one.depth[..., None], np.ones((*one.depth.shape, 1))], -1) @ np.linalg.inv(one.world_to_camera).T
    seen = np.zeros(one.depth.shape, bool)
    for other in others:
        two = _view(capture, other, index)
        local = (world @ two.world_to_camera.T)[..., :3]
        flat = local @ two.K.T
        x, y = (np.floor(flat[..., i] / np.maximum(flat[..., 2], 1e-6)).astype(int) for i in (0, 1))
        inside = (flat[..., 2] > 0) & (x >= 0) & (y >= 0) & (x < one.depth.shape[1]) & (y < one.depth.shape[0])
        there = two.depth[np.clip(y, 0, one.depth.shape[0] - 1), np.clip(x, 0, one.depth.shape[1] - 1)]
        seen |= inside & (np.abs(local[..., 2] - there) < 0.05 * there)
    return seen


@pytest.mark.parametrize("own_depth", [True, False])
def test_covisibility_by_depth_is_that_of_exact_geometry(capture, own_depth):
    truth = _truly_seen(capture, 3, (0, 1), 2)
    assert 0.3 < truth.mean() < 0.99  # something to tell apart
    found = covisible_by_depth(_view(capture, 3, 2, own_depth), [_view(capture, v, 2) for v in (0, 1)])
    assert metrics.mask_iou(found, truth) > 0.9
    assert not covisible_by_depth(_view(capture, 3, 2), [], UNCLEANED).any()


def test_a_wrong_depth_is_not_seen(capture):
    right, test = _view(capture, 1, 2), _view(capture, 3, 2)
    wrong = DepthView(right.K, right.world_to_camera, right.depth * 1.2)
    assert covisible_by_depth(test, [wrong], UNCLEANED).mean() < 0.3 * covisible_by_depth(test, [right], UNCLEANED).mean()


def test_covisibility_by_flow_counts_training_images(capture):
    from fourfold.priors.tracking.flow import flow_between

    image = np.asarray(capture.image(1, 0))
    left, right = np.zeros(image.shape[:2]), np.zeros(image.shape[:2])
    left[:, :48], right[:, 32:] = 1, 1
    answers = {0: left, 1: right}
    seen = lambda a, b: answers[int(b[0, 0, 0])]  # noqa: E731
    images = [np.full_like(image, i) for i in (0, 1)]
    assert (covisible_by_flow(image, images, seen, least=0)).all()
    assert covisible_by_flow(image, images, seen, least=1).sum(1).tolist() == [16] * 64
    assert least_views(200) == 20 and least_views(12) == 5
    shifted = np.roll(image, 12, axis=1)
    found = covisible_by_flow(image, [shifted], lambda a, b: flow_between(a, b)[2], least=0)
    assert found[8:-8, 16:72].mean() > 0.8 and found[:, 86:].mean() < 0.4  # what left the picture is not seen


def test_who_holds_a_camera_is_left_out():
    objects = np.zeros((60, 80), bool)
    objects[20:50, 10:20] = objects[20:50, 50:60] = True
    K, pose = np.array([[80.0, 0, 40], [0, 80, 30], [0, 0, 1]]), np.eye(4)
    centres = np.array([[(15 - 40) / 80 * 3, (25 - 30) / 80 * 3, 3.0], [0, 0, -2.0]])
    left_out = cameramen(objects, K, pose, centres)
    assert left_out[:, :40].sum() == 300 and not left_out[:, 40:].any()
    assert not cameramen(objects, K, pose, centres[1:]).any()


def test_an_actor_who_touches_the_cameraman_stays():
    actor, cameraman = np.zeros((2, 90, 120), bool)
    for person, x in ((actor, 20), (cameraman, 60)):
        person[20:35, x + 6 : x + 16] = person[35:60, x : x + 22] = person[60:85, x : x + 8] = person[60:85, x + 14 : x + 22] = True
    touching = actor | cameraman
    touching[40:43, 42:60] = True  # a hand on the other's arm
    K, pose = np.array([[120.0, 0, 60], [0, 120, 45], [0, 0, 1]]), np.eye(4)
    centre = np.array([[(71 - 60) / 120 * 3, (38 - 45) / 120 * 3, 3.0]])
    left_out = cameramen(touching, K, pose, centre)
    assert (left_out & cameraman).sum() > 0.97 * cameraman.sum() and (left_out & actor).sum() == 0
    assert (cameramen(cameraman, K, pose, centre) == cameraman).all(), "a single body stays whole"


def test_turned_cameras_keep_the_centre_in_its_place():
    pose = np.eye(4)
    pose[:3, 3] = [0.1, -0.2, 4.0]
    centre, up = np.array([0.3, 0.1, 1.0]), np.array([0.0, -1.0, 0.0])
    for degrees in (5, 45, 90):
        other = novel_views.turned_about(pose, centre, up, degrees)
        assert (other @ [*centre, 1])[:3] == pytest.approx((pose @ [*centre, 1])[:3])
        there, before = (-p[:3, :3].T @ p[:3, 3] - centre for p in (other, pose))
        flat_a, flat_b = there * [1, 0, 1], before * [1, 0, 1]
        angle = np.degrees(np.arccos(flat_a @ flat_b / np.linalg.norm(flat_a) / np.linalg.norm(flat_b)))
        assert angle == pytest.approx(degrees)
    ring = np.stack([novel_views.turned_about(pose, np.array([0.1, -0.2, 2.0]), up, a) for a in (0, 60, 170)])
    axis_point = novel_views.look_at_point(ring)
    for p in ring:
        local = (p @ [*axis_point, 1])[:3]
        assert np.linalg.norm(local[:2]) < np.linalg.norm((p @ [5.0, 5, 5, 1])[:2])


def test_halfway_is_the_truth_of_a_constant_motion():
    random = torch.Generator().manual_seed(0)
    n = 5
    half_angle = torch.tensor([0.0, 0.2, 0.4])  # at t, t + 1, t + 2, about z
    quats = torch.stack([torch.stack([torch.cos(a), torch.zeros(()), torch.zeros(()), torch.sin(a)]) for a in half_angle])
    means = torch.randn(n, 3, generator=random)
    at = [Gaussians(means + i, q.expand(n, 4), torch.zeros(n, 3), torch.zeros(n), torch.rand(n, 3)) for i, q in enumerate(quats)]
    middle = novel_views.halfway(at[0], at[2])
    assert torch.allclose(middle.means, at[1].means, atol=1e-6)
    assert torch.allclose(middle.quat_wxyz, at[1].quat_wxyz, atol=1e-6)
    flipped = Gaussians(at[2].means, -at[2].quat_wxyz, at[2].log_scale, at[2].opacity_logit, at[2].color)
    turned = novel_views.halfway(at[0], flipped).quat_wxyz
    assert torch.allclose((turned * at[1].quat_wxyz).sum(-1).abs(), torch.ones(n), atol=1e-6)


def test_protocols_are_consistent():
    assert len({p.name for p in PROTOCOLS}) == len(PROTOCOLS)
    for protocol in PROTOCOLS:
        assert len({m.key for m in protocol.measures}) == len(protocol.measures), protocol.name
        assert protocol.source and protocol.split
        for measure in protocol.measures:
            assert measure.metric != "ssim" or measure.form in {*metrics.FORMS, "dycheck", "mask_mean"}
    assert find_protocol("n3dv").variant("ssim") != find_protocol("panoptic_sports").variant("ssim")
    with pytest.raises(FourfoldError, match="there is no protocol 'nothing': choose one of plain"):
        find_protocol("nothing")


PUBLISHED_SPLITS = {
    # protocol: (views, moments, names) -> the (view, moment) pairs that the paper holds out
    "n3dv": lambda V, T, names: {(names.index("cam00"), t) for t in range(T)},
    "enerf_outdoor": lambda V, T, names: {(names.index("08"), t) for t in range(T)},
    "exorecon": lambda V, T, names: set(),
    "exorecon_novel_time": lambda V, T, names: {(v, t) for v in range(V) for t in range(1, T, 3)},
    "exorecon_45": lambda V, T, names: set(),
    "exorecon_5": lambda V, T, names: set(),
    "letcamsgo": lambda V, T, names: {(V - 1, t) for t in range(T)},
}


def _source(V: int, T: int, names, moving: bool) -> Source:
    frames = _NoFrames(T)
    views = []
    for v in range(V):
        pose = np.tile(np.eye(4), (T, 1, 1))
        pose[:, 0, 3] = v + (0.1 * np.arange(T) if moving and v < V - 1 else 0)
        views.append(ViewSource(names[v], frames, np.arange(T), np.tile(np.eye(3), (T, 1, 1)), pose))
    return Source("test", Path("capture"), "test", tuple(views), np.arange(T) / 30.0, "given", False)


class _NoFrames:
    """Frames that nobody decodes."""

    size = (4, 4)

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count


@pytest.mark.parametrize("name", sorted(PUBLISHED_SPLITS))
def test_a_protocol_holds_out_what_its_paper_holds_out_and_trains_on_none_of_it(name):
    protocol = find_protocol(name)
    names = ["cam00", "cam01", "07", "08"] if name != "letcamsgo" else ["a", "b", "c", "fixed"]
    (rule,) = protocol.holdouts
    train, heldout, words = split(_source(4, 8, names, name == "letcamsgo"), rule)
    expected = PUBLISHED_SPLITS[name](4, 8, names)
    assert {(int(v), int(t)) for v, t in np.argwhere(heldout)} == expected
    assert not (train & heldout).any() and (train | heldout).all()
    assert protocol.split_told(words) == ""
    wrong = "every:8" if rule != "every:8" else "none"
    assert protocol.split_told(wrong) == f", split {wrong}" and protocol.split_told(None) == ", split of the capture"


@pytest.mark.parametrize(("moving", "known", "said"), [(False, True, "every camera stands still"), (True, False, "needs known cameras")])
def test_a_standing_camera_that_cannot_be_told(moving, known, said):
    source = _source(3, 4, list("abc"), moving)
    if not known:
        source = replace(source, views=tuple(replace(v, world_to_camera=np.full((4, 4, 4), np.nan)) for v in source.views))
    with pytest.raises(FourfoldError, match=f"--holdout standing.*{said}.*name the test camera"):
        split(source, "standing")


def test_the_four_folds_of_90_degrees_test_each_camera_once():
    folds = [split(_source(4, 3, list("abcd"), False), rule)[1] for rule in find_protocol("exorecon_90").holdouts]
    assert len(folds) == 4 and (np.sum(folds, axis=0) == 1).all() and all(fold.any(axis=1).sum() == 1 for fold in folds)


@pytest.mark.parametrize("name", ["dycheck_iphone", "panoptic_sports", "dnerf", "nvidia_rodynrf", "iphone360"])
def test_a_data_set_with_its_own_split_is_told_from_one_that_was_split_anew(name):
    protocol = find_protocol(name)
    assert protocol.split_told("the data set's train and test lists") == "" == protocol.split_told(None)
    assert protocol.split_told("every:8") == ", split every:8"


def test_figures_under_another_split_are_not_compared(capture):
    scene, protocol = _splats(capture), find_protocol("letcamsgo")
    learned = Learned({}, None, {})
    told = {}
    for rule in ("standing", "cameras:1"):
        made = replace(capture, facts={**capture.facts, "holdout": rule})
        outcome = score_protocol(protocol, scene, made, regions_of(protocol, made, Evidence(depth=capture.depth)), learned)
        told[rule] = outcome.variants["psnr"]
    published = protocol.variant("psnr")
    assert told["standing"] == published, "masks by the published rule from what came with the data count as the published ones"
    assert told["cameras:1"] == f"{published}, split cameras:1"


def test_turned_views_are_drawn_turned_and_have_no_truth(tmp_path):
    made = generate("sparse_fixed", tmp_path / "rig", options=SyntheticOptions(frames=2, width=96, height=64, supersample=1, tracks=8))
    made = replace(made, train=made.present, heldout=np.zeros_like(made.present))
    scene = _splats(made)
    pictures = {}
    for name in ("exorecon_5", "exorecon_45", "exorecon"):
        protocol = replace(find_protocol(name), measures=())
        score_protocol(protocol, scene, made, {}, Learned({}, None, {}), tmp_path / name)
        pictures[name] = np.asarray(Image.open(tmp_path / name / "000_00000.png")) / 255
        assert (tmp_path / name / "truth").exists() == (name == "exorecon")
    straight, little, much = (pictures[name] for name in ("exorecon", "exorecon_5", "exorecon_45"))
    assert 0.01 < np.abs(straight - little).mean() < np.abs(straight - much).mean()


def test_given_covisibility_is_used_and_told(capture, tmp_path):
    protocol = find_protocol("dycheck_iphone")
    assert mask_source(protocol, capture, "covisible") == "own"
    masks = np.random.default_rng(0).random((6, 64, 96)) < 0.5
    for index, mask in enumerate(masks):
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / f"3_{index + 100:05d}.png")
    names = tuple(f"camera {v}" for v in range(4))
    given = replace(capture, view_names=names, facts={**capture.facts, "covisible_folder": str(tmp_path)})
    assert mask_source(protocol, given, "covisible") == "given"
    found = regions_of(protocol, given, Evidence())["covisible"]
    assert all((found[3, t] == masks[t]).all() for t in range(6))


class _L1:
    """A stand-in of LPIPS's form."""

    def __call__(self, image, other):
        return float(self.map(image, other).mean())

    def map(self, image, other):
        return np.abs(image - other).mean(-1)


def test_lpips_forms():
    a, b = np.random.default_rng(0).random((2, 8, 8, 3))
    mask = np.zeros((8, 8), bool)
    mask[2:4] = True
    plain = np.abs(a - b).mean()
    assert lpips(_L1(), "", a, b) == pytest.approx(plain)
    assert lpips(_L1(), "raw", a, b) == pytest.approx(plain / 2)  # [0, 1] fed to what expects [-1, 1] halves every contrast
    assert lpips(_L1(), "masked", a, b, mask) == pytest.approx(np.abs(a - b)[2:4].mean())


def test_clip_metrics_are_cosines_of_one_camera():
    embed = lambda image: np.array([image.mean(), 1.0])  # noqa: E731
    a, b = np.zeros((4, 4, 3)), np.ones((4, 4, 3))
    assert clip_similarity(embed, a, b) == pytest.approx(1 / np.sqrt(2))
    assert clip_over_time(embed, [a, a, b], lag=1) == pytest.approx((1 + 1 / np.sqrt(2)) / 2)
    assert clip_over_time(embed, [a, b], lag=5) is None


@pytest.mark.parametrize("name", ["synthetic", "letcamsgo", "iphone360", "dycheck_iphone"])
def test_a_protocol_measures_and_keeps_its_masks(capture, name, tmp_path):
    scene = _splats(capture)
    protocol = find_protocol(name)
    regions = regions_of(protocol, capture, Evidence(depth=capture.depth))
    outcome = score_protocol(protocol, scene, capture, regions, Learned({}, None, {"clip": "the weights clip-base-32 are not here"}), tmp_path)
    assert outcome.metrics["psnr"] is not None and outcome.metrics["lpips"] is None
    assert "no LPIPS alex" in outcome.unavailable["lpips"]
    assert not outcome.as_published or protocol.size is None
    region = {m.key: m.region for m in protocol.measures}["psnr"]
    rows = []
    for row in outcome.frames:
        file = f"{row['view']:03d}_{row['index']:05d}.png"
        image, truth = (np.asarray(Image.open(tmp_path / part / file)) / 255 for part in (".", "truth"))
        if region == "full":
            rows.append(metrics.psnr(image, truth))
        elif region == "covisible" and row["psnr"] is not None:
            rows.append(metrics.psnr(image, truth, np.asarray(Image.open(tmp_path / "masks" / region / file)) > 0))
    if rows:
        assert outcome.metrics["psnr"] == pytest.approx(np.mean(rows), abs=1e-9)
    with_lpips = Learned({"alex": _L1()}, None, {})
    assert score_protocol(protocol, scene, capture, regions, with_lpips).metrics["lpips"] is not None


def _splats(capture):
    """A moving and a still layer of Gaussians on what view 0 sees at time 0: enough to render."""
    from fourfold.scene.motion.static import Static
    from fourfold.scene.scene import DYNAMIC, STATIC, Layer, Scene

    view = _view(capture, 0, 0)
    ys, xs = (a.ravel() for a in np.mgrid[0:64:3, 0:96:3])
    rays = np.stack([xs + 0.5, ys + 0.5, np.ones(len(xs))], -1) @ np.linalg.inv(view.K).T * view.depth[ys, xs][:, None]
    world = (np.concatenate([rays, np.ones((len(xs), 1))], 1) @ np.linalg.inv(view.world_to_camera).T)[:, :3]
    moving = capture.mask(0, 0)[ys, xs] > 0
    layers = []
    for name, role, rows in (("body", DYNAMIC, moving), ("room", STATIC, ~moving)):
        n = int(rows.sum())
        splats = {
            "means": torch.tensor(world[rows], dtype=torch.float32),
            "quat_wxyz": torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
            "log_scale": torch.full((n, 3), -3.0),
            "opacity_logit": torch.full((n,), 4.0),
            "color_logit": torch.logit(torch.tensor(np.asarray(capture.image(0, 0))[ys, xs][rows] / 255, dtype=torch.float32), eps=0.01),
        }
        layers.append(Layer(name, role, Static(), splats))
    return Scene(layers, (0.0, 1.0))
