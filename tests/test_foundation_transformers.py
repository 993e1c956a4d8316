"""Adapters of `transformers` models: tiny random checkpoints of the real architectures, saved in the real format and read offline."""

import json

import numpy as np
import pytest
import torch

import foundation_models as tiny
from fourfold.errors import FourfoldError
from fourfold.priors.contracts import LongTracks, Masks, Priors, Provenance
from fourfold.priors.foundation import clip, depth_anything_v2, dinov2, prompts, sam2_video
from fourfold.priors.given import given_cameras
from fourfold.priors.providers import all_providers

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """A weights folder with one tiny model of each kind."""
    folder = tmp_path_factory.mktemp("weights")
    tiny.save_tiny_depth(folder / "depth-anything-v2-small", metric=False)
    tiny.save_tiny_depth(folder / "depth-anything-v2-metric-indoor-small", metric=True)
    tiny.save_tiny_dinov2(folder / "dinov2-registers-small")
    tiny.save_tiny_clip(folder / "clip-base-32")
    tiny.save_tiny_sam2(folder / "sam2-tiny")
    return folder


@pytest.fixture(autouse=True)
def _here(checkpoints, monkeypatch, tmp_path):
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(checkpoints))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HOME", "HF_HUB_CACHE", "TORCH_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def capture(tmp_path):
    return tiny.small_capture(tmp_path / "capture")


def test_all_are_providers_that_find_their_weights(capture):
    found = {p.name: p for p in all_providers()}
    for name in ("depth-anything-v2", "depth-anything-v2-metric", "dinov2-registers", "sam2"):
        assert found[name].missing(capture) is None
    assert found["depth-anything-v2-metres"].missing(capture) == ""  # scene units are no metres here


def test_disparity_of_training_frames(capture):
    prior = depth_anything_v2.disparity(capture, "depth-anything-v2-small")
    assert [d.shape for d in prior.disparity] == [(3, 42, 56)] * 2
    for view in range(2):
        assert (prior.disparity[view][2] == 0).all() and (prior.confidence[view][2] == 0).all()  # held out
        assert ((prior.confidence[view] == 1) == (prior.disparity[view] > 0)).all()
        assert prior.disparity[view][:2].max() > 0


def test_metric_depth_is_inverted_to_disparity(capture):
    name = "depth-anything-v2-metric-indoor-small"
    depth, inverse = depth_anything_v2.metric_depth(capture, name), depth_anything_v2.disparity(capture, name)
    known = depth.depth[0] > 0
    assert known[:2].all() and depth.depth[0].max() <= 20
    np.testing.assert_allclose(inverse.disparity[0][known] * depth.depth[0][known], 1, rtol=1e-3)


def test_estimate_sees_the_whole_image_at_the_patch_multiple():
    class Probe(torch.nn.Module):
        """Answers with the red channel that it was given, one value per patch."""

        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixel_values):
            assert pixel_values.shape[-2] % 14 == 0 and pixel_values.shape[-1] % 14 == 0
            return type("Output", (), {"predicted_depth": pixel_values[:, 0] * 0.229 + 0.485})

    ramp = np.broadcast_to(np.arange(100, dtype=np.uint8)[None, :, None], (60, 100, 3))
    raw = depth_anything_v2.estimate(Probe(), ramp, depth_anything_v2.DepthAnythingConfig(short_side=140))
    assert np.abs(raw * 255 - ramp[..., 0]).max() < 1.0  # no shift and no stretch


def test_features_share_one_scale(capture):
    prior = dinov2.estimate_features(capture, None, "dinov2-registers-small", dinov2.FeatureConfig(crop=70, cell=2))
    assert [f.shape for f in prior.feature] == [(3, 21, 28, 32)] * 2
    made = np.concatenate([f[:2].reshape(-1, 32) for f in prior.feature]).astype(np.float32)
    np.testing.assert_allclose(made.std(axis=0), 1, atol=0.01)
    assert (prior.feature[0][2] == 0).all()
    off = np.abs(np.corrcoef(made.T) - np.eye(32)).max()
    assert off < 0.35  # principal components hardly correlate, also beyond the sample they were fitted on


def test_projection_is_the_pca():
    samples = torch.randn(500, 6, generator=torch.Generator().manual_seed(0)) @ torch.diag(torch.tensor([9.0, 5, 3, 1, 0.5, 0.1])) + 4
    mean, projection = dinov2.fit_projection(samples, 3)
    made = (samples - mean) @ projection
    torch.testing.assert_close(made.T @ made / 500, torch.eye(3), atol=1e-3, rtol=0)
    expected = torch.linalg.svd(samples - samples.mean(0), full_matrices=False).Vh[:3].T
    torch.testing.assert_close((projection / projection.norm(dim=0) * expected).sum(0).abs(), torch.ones(3), atol=1e-3, rtol=0)
    with pytest.raises(FourfoldError, match="use more images"):
        dinov2.fit_projection(samples[:2], 3)


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (64, 64)])
def test_squares_cover_the_image_at_every_level(size):
    config = dinov2.FeatureConfig(levels=2)
    squares = dinov2.squares(*size, config)
    for side in {s for *_, s in squares}:
        seen = np.zeros(size, bool)
        for top, left, own in squares:
            if own == side:
                seen[top : top + own, left : left + own] = True
        assert seen.all()


def _point(identity, time, x, y):
    return prompts.Prompt(identity, 0, time, np.array([[x, y]], np.float32), np.ones(1, np.int32), None)


def test_prompted_objects_keep_their_ids(capture):
    from fourfold.priors.foundation.hub_models import load_pretrained

    model = load_pretrained("Sam2VideoModel", "sam2-tiny", torch.device("cpu"))
    images = [capture.image(0, t) for t in range(3)]
    box = prompts.Prompt(3, 0, 0, np.zeros((0, 2), np.float32), np.zeros(0, np.int32), np.array([5, 5, 30, 30], np.float32))
    alone = [sam2_video.follow(model, images, [p]) for p in (_point(7, 1, 20, 20), box)]
    both = sam2_video.follow(model, images, [_point(7, 1, 20, 20), box])
    assert both.shape == (3, 42, 56) and set(np.unique(both)) <= {0, 3, 7}
    assert set(np.unique(alone[0])) <= {0, 7} and (alone[0] == 7).any()
    # together nothing is lost, nothing is added, and only what both claim is decided anew
    assert ((both > 0) == ((alone[0] > 0) | (alone[1] > 0))).all()
    assert (both[alone[1] == 0] == alone[0][alone[1] == 0]).all()


def test_masks_of_prompted_views_only(capture):
    masks = sam2_video.segment(capture, [_point(1, 0, 20.5, 20.5)], "sam2-tiny")
    assert set(np.unique(masks.mask[0][:2])) <= {-1, 1} and (masks.mask[0][2] == 0).all() and (masks.mask[1] == 0).all()


def test_prompts_file_is_read_and_checked(capture):
    assert prompts.prompts_file(capture) is None
    path = capture.root.parent / "prompts.json"
    path.write_text(json.dumps({"objects": [{"id": 2, "view": 1, "time": 0, "points": [[3, 4]], "box": [1, 2, 9, 8]}]}))
    (prompt,) = prompts.read_prompts(prompts.prompts_file(capture), capture)
    assert (prompt.id, prompt.view, prompt.labels.tolist()) == (2, 1, [1]) and prompt.box is not None
    many = {"id": 1, "view": 0, "time": 0, "points": [[1, 1]], "labels": [1, 0]}
    for wrong, words in (({"id": 1, "view": 0, "time": 2, "points": [[1, 1]]}, "no training image"), ({"id": 1, "view": 0, "time": 0}, "neither"),
                         ({"id": 1}, "no list of prompts"), (many, "2 labels")):  # fmt: skip
        path.write_text(json.dumps({"objects": [wrong]}))
        with pytest.raises(FourfoldError, match=words):
            prompts.read_prompts(path, capture)


def test_the_largest_moving_part_is_the_automatic_prompt(capture):
    mask = np.full((3, 42, 56), -1, np.int8)
    mask[0, 5:10, 5:10] = 1
    mask[1, 20:31, 30:41], mask[1, 2:4, 2:4] = 1, 1
    (prompt,) = prompts.automatic_prompts(Masks(Provenance("t"), (mask, np.full_like(mask, -1))), capture.train)
    assert (prompt.view, prompt.time, prompt.points.tolist()) == (0, 1, [[35.5, 25.5]])
    assert prompt.box is not None and prompt.box.tolist() == [30, 20, 41, 31]


def test_the_provider_follows_the_prompts_file(capture):
    provider = next(p for p in all_providers() if p.name == "sam2")
    path = capture.root.parent / "prompts.json"
    before = provider.inputs(capture)
    path.write_text(json.dumps({"objects": [{"id": 2, "view": 1, "time": 0, "points": [[20, 20]]}]}))
    assert provider.inputs(capture) != before
    (masks,) = provider.make(capture, Priors())
    assert isinstance(masks, Masks) and (masks.mask[0] == 0).all() and (masks.mask[1][:2] != 0).all()


def test_without_prompts_what_moves_is_followed(capture, monkeypatch):
    moving = np.full((3, 42, 56), -1, np.int8)
    classical = Masks(Provenance("motion"), (moving.copy(), moving))
    monkeypatch.setattr(sam2_video, "classical_masks", lambda *_: classical)
    none = np.zeros(0, np.int32)
    priors = Priors(cameras=given_cameras(capture), longtracks=LongTracks(Provenance("t"), np.zeros((0, 2), np.float32), none, none, none))
    provider = next(p for p in all_providers() if p.name == "sam2")
    (masks,) = provider.make(capture, priors)
    assert (
        (masks.mask[0] == -1).all() and masks.provenance.provider == "motion" and masks.provenance.notes
    )  # nothing moves: the classical masks serve
    classical.mask[0][1, 10:25, 10:25] = 1
    (masks,) = provider.make(capture, priors)
    assert masks.provenance.provider == "sam2" and (masks.mask[1] == -1).all()
    assert (masks.mask[0] == sam2_video.segment(capture, prompts.automatic_prompts(classical, capture.train), "sam2-tiny").mask[0]).all()


def test_clip_embeds_images_and_texts():
    model = clip.Clip()
    image = np.random.default_rng(0).random((32, 62, 3))
    one, two = model.image(image), model.image(image[:, 15:47])
    np.testing.assert_allclose(one, two, atol=1e-6)  # the middle square is what it sees
    assert np.linalg.norm(one) == pytest.approx(1) and np.linalg.norm(model.text("a cat")) == pytest.approx(1)
    assert model.text("a cat") @ model.text("a dog") < 0.9999
    assert model.text("word " * 200).shape == one.shape


def test_damaged_and_foreign_checkpoints_are_refused(checkpoints, tmp_path, monkeypatch):
    from fourfold.priors.foundation.hub_models import load_pretrained

    folder = tmp_path / "other" / "sam2-tiny"
    folder.mkdir(parents=True)
    monkeypatch.setenv("FOURFOLD_WEIGHTS", str(tmp_path / "other"))
    (folder / "config.json").write_bytes((checkpoints / "dinov2-registers-small" / "config.json").read_bytes())
    (folder / "model.safetensors").write_bytes((checkpoints / "clip-base-32" / "model.safetensors").read_bytes())
    with pytest.raises(FourfoldError, match="lack"):
        load_pretrained("Dinov2WithRegistersModel", "sam2-tiny", torch.device("cpu"))
    (folder / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(FourfoldError, match="cannot be read"):
        load_pretrained("Dinov2WithRegistersModel", "sam2-tiny", torch.device("cpu"))
