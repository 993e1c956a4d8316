"""What takes another way on a GPU, so as not to wait for it, gives what the CPU gives: on the pretended GPU, counting no wait.

Run by test_pretended_gpu.py in a process of its own.
"""

import pytest
import torch

import pretended_gpu
from exact_priors import exact
from fourfold.capture.synthetic import SyntheticOptions
from fourfold.geometry.blended_motion import _quaternion
from fourfold.geometry.host import on_host, sent
from fourfold.geometry.interpolation import cubic_weights
from fourfold.geometry.rotations import quat_to_matrix
from fourfold.losses.normalised_depth import normalised
from fourfold.losses.ordinal_depth import _ranks, draw_pairs_on_gpu
from fourfold.losses.robust import trimmed_l1, trimmed_mean
from fourfold.losses.ssim import ssim
from fourfold.training.batch import SampleStore, Source
from fourfold.training.resident import ResidentFrames
from pretended_gpu import MixedDevices, OnGpu, raw


@pytest.fixture
def gpu(monkeypatch):
    with pretended_gpu.pretended(monkeypatch) as (_, book):
        book.counting = True
        yield book
        assert not book.waits


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def close(found, expected):
    torch.testing.assert_close(raw(found).detach(), expected.detach(), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("level", [1.0, 0.98, 0.5])
@pytest.mark.parametrize("weight", [None, normal(23, 17, seed=1).clamp(min=0), torch.zeros(23, 17)])
def test_trimmed_means(gpu, level, weight):
    error = normal(23, 17).abs()
    on_gpu = None if weight is None else OnGpu(weight)
    close(trimmed_mean(OnGpu(error), on_gpu, level), trimmed_mean(error, weight, level))
    close(trimmed_mean(OnGpu(error), on_gpu, level, before_masking=True), trimmed_mean(error, weight, level, before_masking=True))
    close(trimmed_l1(OnGpu(error), on_gpu, level, axis=1), trimmed_l1(error, weight, level, axis=1))


def test_alike_errors_and_single_ones_are_kept(gpu):
    for error in (torch.full((5, 4), 2.0), torch.tensor([[3.0]])):
        close(trimmed_mean(OnGpu(error), None, 0.5), error.mean())


def test_structural_similarity_without_any_weight_is_one(gpu):
    one, other = normal(12, 13, 3).sigmoid(), normal(12, 13, 3, seed=1).sigmoid()
    for weight in (normal(12, 13, seed=2).clamp(min=0), torch.zeros(12, 13)):
        close(ssim(OnGpu(one), OnGpu(other), OnGpu(weight)), ssim(one, other, weight))


def test_normalised_depth(gpu):
    depth, usable = normal(9, 8).abs() + 1, normal(9, 8, seed=1) > 0
    close(normalised(OnGpu(depth), OnGpu(usable)), normalised(depth, usable))
    assert (raw(normalised(OnGpu(depth), OnGpu(torch.zeros_like(usable)))) == 0).all()


def test_ranks_and_random_pairs_of_depth(gpu):
    values = torch.tensor([3.0, 1.0, 3.0, 2.0, 1.0, 7.0])
    assert torch.equal(raw(_ranks(OnGpu(values))), _ranks(values))
    usable, moving = torch.zeros(20, 30, dtype=torch.bool), torch.zeros(20, 30)
    usable[2:9, 4:20], moving[5:, :8] = True, 1.0
    first, second = (raw(t) for t in draw_pairs_on_gpu(OnGpu(usable), OnGpu(moving), 4000, torch.Generator().manual_seed(0)))
    assert usable.flatten()[first].all()
    assert usable.flatten()[second].all()
    assert moving.flatten()[first[:2000]].all()
    counts = torch.bincount(second, minlength=600)[usable.flatten()]
    assert counts.min() > 10  # 4000 draws among 112 pixels: 36 each
    alone = draw_pairs_on_gpu(OnGpu(torch.zeros_like(usable)), OnGpu(moving), 10, torch.Generator().manual_seed(0))
    assert all((raw(t) < 600).all() for t in alone)


def test_half_turns_are_read_from_their_best_row(gpu):
    quat = torch.nn.functional.normalize(torch.cat([normal(20, 4), torch.tensor([[0.0, 0, 1, 0], [1e-4, 1, 0, 0], [0, 0.6, 0, 0.8]])]), dim=1)
    x, y, z = quat_to_matrix(quat).unbind(-1)
    columns = [axis.T[None].contiguous() for axis in (x, y, z)]
    found = raw(_quaternion(*(OnGpu(axis) for axis in columns)))[0].T
    close((found * quat).sum(1).abs(), torch.ones(len(quat)))


def test_constants_are_read_once(gpu):
    knots = OnGpu(torch.tensor([0.0, 1.0, 2.5]))
    gpu.counting = False
    on_host(knots)
    gpu.counting = True
    assert torch.equal(on_host(knots), knots.raw)
    times = sent(torch.tensor([0.3, 2.0]), torch.device("gpu:0"))
    assert torch.equal(on_host(times), times.raw)
    for found, expected in zip(cubic_weights(knots, times), cubic_weights(knots.raw, times.raw), strict=True):
        close(found, expected)


def test_the_pretended_gpu_can_refuse_and_counts(gpu):
    here, there = torch.ones(3), OnGpu(torch.ones(3))
    with pytest.raises(MixedDevices):
        here + there
    with pytest.raises(MixedDevices):
        there.data_ptr()
    with pytest.raises(TypeError):
        there.numpy()
    launches = sum(gpu.launches.values())
    assert float(there.sum()) == 3
    there[there > 0]
    there.cpu()
    assert [place.split(" ", 1)[1] for place in gpu.waits] == ["_local_scalar_dense", "boolean index", "copy across devices"]
    assert sum(gpu.launches.values()) > launches
    gpu.waits.clear()


@pytest.mark.parametrize("divisor", [1, 2, 3])
@pytest.mark.parametrize("composited", [False, True])
def test_samples_are_made_of_frames_that_stay_there(gpu, tmp_path, monkeypatch, divisor, composited):
    capture, priors = exact("casual", tmp_path, SyntheticOptions(frames=3, width=50, height=34, supersample=1, tracks=20))
    alpha = (normal(34, 50).sigmoid() * 255).to(torch.uint8).numpy()
    monkeypatch.setattr(type(capture), "alpha", lambda self, view, index: alpha)
    sources = [Source(capture, priors, torch.device(name), (0.2, 0.4, 0.6), composited=composited) for name in ("cpu", "gpu:0")]
    expected, store = SampleStore(sources[0]).sample(0, 1, divisor), SampleStore(sources[1])
    found = store.sample(0, 1, divisor)
    for name in ("image", "mask", "mask_valid", "depth", "depth_confidence"):
        close(getattr(found, name), getattr(expected, name))
    monkeypatch.setattr(type(capture), "image", lambda self, view, index: pytest.fail("a frame was read again"))
    assert raw(store.sample(0, 1, divisor + 1).image).shape == (round(34 / (divisor + 1)), round(50 / (divisor + 1)), 3)


def test_the_oldest_frames_make_room(gpu, tmp_path):
    capture, priors = exact("casual", tmp_path, SyntheticOptions(frames=3, width=50, height=34, supersample=1, tracks=20))
    one = ResidentFrames(capture, priors, torch.device("gpu:0"))
    size = one.frame(0, 0).nbytes
    few = ResidentFrames(capture, priors, torch.device("gpu:0"), budget=2 * size)
    first, second = few.frame(0, 0), few.frame(0, 1)
    assert few.frame(0, 0) is first
    few.frame(0, 2)
    assert few.frame(0, 0) is first
    assert few.frame(0, 1) is not second
