"""Splat files of one moment: every format there and back on random scenes, decoded by other means too, and damage."""

import gzip
import io
import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from fourdgs import read_compressed_ply
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from damaged_files import damage_is_one_sentence
from every_motion import scene_of, walking_camera
from fourfold.errors import FourfoldError
from fourfold.export.formats import FORMATS, export
from fourfold.geometry.gaussians import Gaussians
from fourfold.geometry.rotations import quat_multiply, so3_exp
from fourfold.render.harmonics import harmonics_basis
from fourfold.splats.codebook import PaletteConfig, book, palette
from fourfold.splats.compressed_ply import decode_compressed_ply, encode_compressed_ply
from fourfold.splats.convention import from_smallest_three, smallest_three
from fourfold.splats.drawn import drawn, morton_order, plain
from fourfold.splats.ply import decode_ply, encode_ply
from fourfold.splats.read import read_splats
from fourfold.splats.sog import decode_sog, encode_sog
from fourfold.splats.spz import FLIPPED, decode_spz, encode_spz

CODECS: dict[str, tuple[Callable[[Gaussians], bytes], Callable[[bytes, str], Gaussians]]] = {
    "ply": (encode_ply, decode_ply),
    "compressed-ply": (encode_compressed_ply, decode_compressed_ply),
    "spz": (encode_spz, decode_spz),
    "sog": (encode_sog, decode_sog),
}


def random_gaussians(count: int, terms: int, seed: int, spread: float = 2.0) -> Gaussians:
    g = torch.Generator().manual_seed(seed)
    rest = 0.2 * torch.randn(count, terms, 3, generator=g) if terms else None
    return plain(
        Gaussians(
            spread * torch.randn(count, 3, generator=g),
            torch.randn(count, 4, generator=g),
            torch.randn(count, 3, generator=g) - 4,
            3 * torch.randn(count, generator=g),
            torch.rand(count, 3, generator=g),
            rest,
        )
    )


def same(one: Gaussians, two: Gaussians, steps: dict[str, float]) -> None:
    """Every value within its format's step."""
    assert len(one) == len(two)
    if len(one) == 0:
        return
    extent = float(one.means.amax() - one.means.amin()) + 1e-6
    assert float((one.means - two.means).abs().max()) <= steps["means"] * max(extent, 1e-3)
    assert float((one.quat_wxyz * two.quat_wxyz).sum(1).abs().min()) >= 1 - steps["turn"]
    assert float((one.log_scale - two.log_scale).abs().max()) <= steps["scale"]
    assert float((one.opacity - two.opacity).abs().max()) <= steps["opacity"]
    assert float((one.color - two.color).abs().max()) <= steps["color"]
    if one.sh_rest is not None:
        assert two.sh_rest is not None and float((one.sh_rest - two.sh_rest).abs().max()) <= steps["rest"]


STEPS = {
    "ply": {"means": 1e-7, "turn": 1e-6, "scale": 0, "opacity": 1e-6, "color": 1e-6, "rest": 0},
    "compressed-ply": {"means": 0.6 / 1023, "turn": 2e-6, "scale": 0.6 * 9 / 1023, "opacity": 0.51 / 255, "color": 0.51 / 255, "rest": 4.1 / 256},
    "spz": {"means": 1e-6, "turn": 1e-5, "scale": 0.51 / 16, "opacity": 0.51 / 255, "color": 0.51 / 255 / 0.15 * 0.2821, "rest": 8.5 / 128},
    # books of sizes and harmonics are best for squares of errors: their rarest values may lie far from any entry (see `squares` below)
    "sog": {"means": 2e-4, "turn": 5e-5, "scale": 1.0, "opacity": 0.51 / 255, "color": 0.02, "rest": 0.3},
}


@pytest.mark.parametrize("name", list(CODECS))
@settings(max_examples=12, deadline=None)
@given(count=st.sampled_from([0, 1, 2, 255, 256, 257, 700]), terms=st.sampled_from([0, 3, 8, 15]), seed=st.integers(0, 10_000))
def test_there_and_back(name: str, count: int, terms: int, seed: int) -> None:
    encode, decode = CODECS[name]
    sent = random_gaussians(count, terms, seed)
    sent = sent.select(morton_order(sent.means))
    data = encode(sent)
    assert data == encode(sent), "the same scene gives the same bytes"
    back = decode(data, "a")
    same(sent, back, STEPS[name])
    if name == "sog" and count:
        squares = (sent.log_scale - back.log_scale).square().mean()
        assert float(squares) < 0.05**2  # 256 entries evenly over the 8 that 700 values span would have .01


def test_the_librarys_reader_of_compressed_ply_agrees() -> None:
    sent = random_gaussians(600, 8, 3)
    sent = sent.select(morton_order(sent.means))
    data = encode_compressed_ply(sent)
    theirs, ours = read_compressed_ply(data), decode_compressed_ply(data, "a")
    np.testing.assert_allclose(theirs["positions"], ours.means, atol=1e-5)
    np.testing.assert_allclose(theirs["scales"], ours.scale, rtol=1e-5)
    np.testing.assert_allclose(theirs["colors"][:, :3], ours.color, atol=1e-6)
    np.testing.assert_allclose(theirs["colors"][:, 3], ours.opacity, atol=2e-6)
    steps = torch.from_numpy(theirs["sh"].astype(np.float32)).unflatten(1, (3, 8)).transpose(1, 2)
    inner = (steps > 0) & (steps < 255)
    assert torch.allclose(((steps + 0.5) / 32 - 4)[inner], ours.sh_rest[inner], atol=1e-5)


def test_spz_byte_by_byte() -> None:
    """A reader written from the format's description, sharing nothing with ours."""
    sent = random_gaussians(5, 3, 4)
    raw = gzip.decompress(encode_spz(sent))
    magic, version, count, degree, bits, _, _ = struct.unpack_from("<IIIBBBB", raw)
    assert (magic, version, count, degree) == (0x5053474E, 3, 5, 1)
    at = 16
    for i in range(5):
        for axis, sign in enumerate((1, -1, -1)):
            value = int.from_bytes(raw[at + 9 * i + 3 * axis : at + 9 * i + 3 * axis + 3], "little", signed=True)
            assert value / 2**bits * sign == pytest.approx(float(sent.means[i, axis]), abs=1e-5)
    at += 45
    assert [b / 255 for b in raw[at : at + 5]] == pytest.approx(sent.opacity.tolist(), abs=0.003)
    at += 5
    dc = [(b / 255 - 0.5) / 0.15 for b in raw[at : at + 15]]
    assert [0.5 + 0.28209479 * v for v in dc] == pytest.approx(sent.color.flatten().tolist(), abs=0.004)
    at += 15
    assert [b / 16 - 10 for b in raw[at : at + 15]] == pytest.approx(sent.log_scale.flatten().tolist(), abs=0.032)
    at += 15
    for i in range(5):
        word = int.from_bytes(raw[at + 4 * i : at + 4 * i + 4], "little")
        quat, largest, rest = [0.0] * 4, word >> 30, word
        for part in (3, 2, 1, 0):
            if part != largest:
                quat[part] = (-1 if rest & 512 else 1) * (rest & 511) / 511 * 0.5**0.5
                rest >>= 10
        quat[largest] = (1 - sum(v * v for v in quat)) ** 0.5
        x, y, z, w = quat
        assert abs(float(torch.tensor([w, x, -y, -z]) @ sent.quat_wxyz[i])) > 1 - 1e-5
    assert len(raw) == at + 20 + 5 * 9


def test_harmonics_turn_with_the_axes_of_spz() -> None:
    """Signs of harmonics when y and z turn round: evaluated along turned directions they are the same colours."""
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    turned = harmonics_basis(directions * torch.tensor([1.0, -1.0, -1.0]), 15) * torch.tensor(FLIPPED)
    torch.testing.assert_close(turned, harmonics_basis(directions, 15))
    half_turn = torch.tensor([[0.0, 1.0, 0.0, 0.0]])
    quat = torch.nn.functional.normalize(torch.randn(1, 4), dim=1)
    conjugated = quat_multiply(quat_multiply(half_turn, quat), half_turn * torch.tensor([1, -1, -1, -1]))
    torch.testing.assert_close(conjugated, quat * torch.tensor([1.0, 1, -1, -1]))


def test_sog_pixel_by_pixel() -> None:
    """Pictures decoded by Pillow and put together as the format's page says."""
    sent = random_gaussians(40, 0, 5)
    with zipfile.ZipFile(io.BytesIO(encode_sog(sent))) as archive:
        meta = json.loads(archive.read("meta.json"))
        flat = {
            n: np.asarray(Image.open(io.BytesIO(archive.read(n))).convert("RGBA")).reshape(-1, 4)[:40].astype(int) for n in archive.namelist()[1:]
        }
    assert meta["version"] == 2 and meta["count"] == 40
    for axis in range(3):
        low, high = meta["means"]["mins"][axis], meta["means"]["maxs"][axis]
        logged = low + (high - low) * (flat["means_l.webp"][:, axis] + 256 * flat["means_u.webp"][:, axis]) / 65535
        np.testing.assert_allclose(np.sign(logged) * (np.exp(np.abs(logged)) - 1), sent.means[:, axis], atol=1e-3)
        np.testing.assert_allclose(np.array(meta["scales"]["codebook"])[flat["scales.webp"][:, axis]], sent.log_scale[:, axis], atol=0.05)
        tint = np.array(meta["sh0"]["codebook"])[flat["sh0.webp"][:, axis]]
        np.testing.assert_allclose(0.5 + 0.28209479 * tint, sent.color[:, axis], atol=0.01)
    np.testing.assert_allclose(flat["sh0.webp"][:, 3] / 255, sent.opacity, atol=0.003)
    assert set(flat["quats.webp"][:, 3]) <= {252, 253, 254, 255}


@pytest.mark.parametrize("name", ["compressed-ply", "spz", "sog"])
def test_exports_say_what_they_lose(name: str, tmp_path: Path) -> None:
    scene, capture = scene_of("linear", terms=3), walking_camera()
    out = tmp_path / FORMATS[name].default_name
    lost = export(name, scene, capture, out)
    assert lost is not None and 0 < lost.pixels <= lost.worst_pixels < 0.5 and 30 < lost.decibels < 100
    rows, shown = drawn(scene.at(0.5))
    assert len(read_splats(out)) == len(rows)
    order = shown.means[:, 0].argsort()
    read = read_splats(out).means
    torch.testing.assert_close(read[read[:, 0].argsort()][:, 0], shown.means[order][:, 0], atol=0.02, rtol=0)


def test_what_is_not_finite_or_invisible_is_not_written() -> None:
    g = random_gaussians(6, 3, 6)
    means, size, rest = g.means.clone(), g.log_scale.clone(), g.sh_rest.clone()
    means[1, 2], size[2, 0], rest[3, 1, 1] = torch.nan, torch.inf, torch.nan
    logit = torch.full((6,), 2.0)
    logit[4] = -20
    rows, shown = drawn(Gaussians(means, g.quat_wxyz, size, logit, g.color, rest))
    assert rows.tolist() == [0, 5] and len(shown) == 2


def test_smallest_three_is_its_own_inverse() -> None:
    quats = torch.nn.functional.normalize(torch.randn(200, 4, generator=torch.Generator().manual_seed(1)), dim=1)
    again = from_smallest_three(*smallest_three(quats))
    assert float((again * quats).sum(1).abs().min()) > 1 - 1e-6
    assert so3_exp(torch.zeros(3)).shape == (3, 3)


def test_books_and_palettes_stand_for_their_values() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 3)).astype(np.float32)
    centers, index = book(values)
    assert (np.diff(centers) >= 0).all() and np.abs(centers[index] - values).mean() < 0.01
    nearest = np.abs(values.reshape(-1, 1) - centers).min(1)
    np.testing.assert_allclose(np.abs(centers[index] - values).reshape(-1), nearest, atol=1e-6)
    few = np.array([1.0, 2.0, 2.0, 5.0], np.float32)
    centers, index = book(few)
    np.testing.assert_array_equal(centers[index], few)
    rows = torch.randn(3000, 4, generator=torch.Generator().manual_seed(2))
    entries, labels = palette(rows, PaletteConfig(smallest=1024))
    assert len(entries) == 1024
    torch.testing.assert_close((rows - entries[labels]).square().sum(1), torch.cdist(rows, entries).amin(1).square(), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", list(CODECS))
def test_damage_is_one_sentence(name: str, tmp_path: Path) -> None:
    whole = CODECS[name][0](random_gaussians(300, 3, 7))
    lengths = (3, 40, len(whole) // 2, len(whole) - 8)
    damage_is_one_sentence(read_splats, tmp_path / "bad.file", whole, lengths, 150, 4, np.random.default_rng(3))


def test_a_count_that_the_file_cannot_hold_allocates_nothing(tmp_path: Path) -> None:
    bad = tmp_path / "bad.spz"
    bad.write_bytes(gzip.compress(struct.pack("<IIIBBBB", 0x5053474E, 3, 4_000_000_000, 3, 12, 0, 0)))
    with pytest.raises(FourfoldError, match="cannot hold 4000000000 Gaussians"):
        read_splats(bad)
    head = encode_ply(random_gaussians(1, 0, 8)).split(b"end_header")[0].replace(b"vertex 1\n", b"vertex 999999999\n")
    bad.write_bytes(head + b"end_header\n" + b"0" * 500)
    with pytest.raises(FourfoldError, match="is cut short"):
        read_splats(bad)
    bad.write_bytes(b"OBJ nothing")
    with pytest.raises(FourfoldError, match="is no splat file"):
        read_splats(bad)
