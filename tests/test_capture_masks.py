"""Masks of every kind of file against the disk they were made from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fourfold.capture import prepare_capture
from fourfold.capture.discover import open_source
from fourfold.capture.mask_names import paired
from fourfold.capture.source import CaptureOptions
from fourfold.errors import FourfoldError

WIDTH, HEIGHT, COUNT = 160, 90, 6
Mask = NDArray[np.bool_]
_Y, _X = np.mgrid[:HEIGHT, :WIDTH]


def _disk(number: int, radius: float = 18) -> Mask:
    return (_X - 50 - 8 * number) ** 2 + (_Y - 45) ** 2 < radius**2


def _images(folder: Path, pattern: str = "frame_{:05d}.jpg", truth: Callable[[int], Mask] = _disk) -> list[Mask]:
    """A textured ground that moves slowly and a red object that moves faster; returns where the object is."""
    rng = np.random.default_rng(1)
    ground = rng.integers(40, 220, (HEIGHT // 3 + 1, WIDTH // 3 + 1, 3), np.uint8).repeat(3, 0).repeat(3, 1)
    folder.mkdir(parents=True)
    for number in range(COUNT):
        image = np.roll(ground, 2 * number, axis=1)[:HEIGHT, :WIDTH].copy()
        image[truth(number)] = np.array([200, 40, 40]) + rng.integers(-20, 20, 3)
        Image.fromarray(image).save(folder / pattern.format(number + 1), quality=92)
    return [truth(number) for number in range(COUNT)]


def _levels(mask: Mask) -> NDArray[np.uint8]:
    return (mask * 255).astype(np.uint8)


def _blurred(mask: Mask, sigma: float = 4.0) -> NDArray[np.float32]:
    return cv2.GaussianBlur(mask.astype(np.float32), (0, 0), sigma)


def _palette(mask: Mask, path: Path, background: int = 0) -> None:
    image = Image.fromarray(np.where(mask, 1 - background, background).astype(np.uint8), mode="P")
    colours = [[0, 0, 0], [128, 0, 0]] if background == 0 else [[128, 0, 0], [0, 0, 0]]
    image.putpalette([n for c in colours for n in c] + [255] * (254 * 3))
    image.save(path)


def _alpha(mask: Mask, path: Path) -> None:
    Image.fromarray(np.dstack([np.full((HEIGHT, WIDTH, 3), 255, np.uint8), _levels(mask)])).save(path)


def _coloured(mask: Mask, path: Path) -> None:
    Image.fromarray(np.where(mask[..., None], np.array([0, 0, 128]), 0).astype(np.uint8)).save(path)


Writer = Callable[[Mask, Path], object]
KINDS: dict[str, tuple[str, Writer]] = {
    "0 and 255": ("frame_{:05d}.png", lambda m, p: Image.fromarray(_levels(m)).save(p)),
    "0 and 1": ("frame_{:05d}.png", lambda m, p: Image.fromarray(m.astype(np.uint8)).save(p)),
    "one bit": ("frame_{:05d}.png", lambda m, p: Image.fromarray(m).save(p)),
    "two objects": ("frame_{:05d}.png", lambda m, p: Image.fromarray(np.where(m, 1 + (_X > 60), 0).astype(np.uint8)).save(p)),
    "two objects of even levels": ("frame_{:05d}.png", lambda m, p: Image.fromarray(np.where(m, 127 + 128 * (_Y > 45), 0).astype(np.uint8)).save(p)),
    "coloured": ("frame_{:05d}.png", _coloured),
    "JPEG": ("frame_{:05d}.jpg", lambda m, p: Image.fromarray(_levels(m)).save(p, quality=75)),
    "soft": ("frame_{:05d}.png", lambda m, p: Image.fromarray((_blurred(m) * 255).round().astype(np.uint8)).save(p)),
    "soft, 16 bits": ("frame_{:05d}.png", lambda m, p: cv2.imwrite(str(p), (_blurred(m) * 65535).round().astype(np.uint16))),
    "few levels at edges": ("frame_{:05d}.png", lambda m, p: Image.fromarray((np.round(_blurred(m, 1.5) * 6) * 42.5).astype(np.uint8)).save(p)),
    "alpha": ("frame_{:05d}.png", _alpha),
    "palette": ("frame_{:05d}.png", _palette),
    "palette with black second": ("frame_{:05d}.png", lambda m, p: _palette(m, p, background=1)),
    "yes or no": ("frame_{:05d}.npy", lambda m, p: np.save(p, m)),
    "probabilities": ("frame_{:05d}.npy", lambda m, p: np.save(p, _blurred(m)[None])),
    "scores": ("frame_{:05d}.npy", lambda m, p: np.save(p, np.where(m, 3.0, -4.0).astype(np.float32))),
    "compressed": ("frame_{:05d}.npz", lambda m, p: np.savez_compressed(p, mask=m)),
    "COLMAP's name": ("frame_{:05d}.jpg.png", lambda m, p: Image.fromarray(_levels(m)).save(p)),
    "a word before": ("mask_frame_{:05d}.png", lambda m, p: Image.fromarray(_levels(m)).save(p)),
    "a word behind": ("frame_{:05d}_mask.png", lambda m, p: Image.fromarray(_levels(m)).save(p)),
    "another number": ("dyn_mask_{}.png", lambda m, p: Image.fromarray(_levels(m)).save(p)),
    "half as large": ("frame_{:05d}.png", lambda m, p: Image.fromarray(_levels(m)).resize((WIDTH // 2, HEIGHT // 2), 0).save(p)),
}


def _iou(capture, truth: list[Mask]) -> float:
    both = either = 0
    for number, mask in enumerate(truth):
        given = capture.mask(0, number)
        both, either = both + ((given > 0) & mask).sum(), either + ((given > 0) | mask).sum()
    return both / either


def _read(root: Path, tmp_path: Path):
    return prepare_capture([root], tmp_path / "out", pixels=WIDTH * HEIGHT)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_of_every_kind_are_the_object(tmp_path: Path, kind: str) -> None:
    truth = _images(tmp_path / "clip" / "images")
    folder = tmp_path / "clip" / "masks"
    folder.mkdir()
    pattern, write = KINDS[kind]
    for number, mask in enumerate(truth):
        write(mask, folder / pattern.format(number + 1))
    capture = _read(tmp_path / "clip", tmp_path)
    if kind.startswith(("soft", "probabilities")):  # blurring a disk moves its half level inwards: that is the truth of these files
        truth = [_blurred(m) >= 0.55 for m in truth]
    assert _iou(capture, truth) >= {"half as large": 0.94, "few levels at edges": 0.94, "JPEG": 0.97}.get(kind, 0.999)
    if kind.startswith("soft"):
        given = capture.mask(0, 2)
        assert given is not None
        assert ((given == 0) == (np.abs(_blurred(_disk(2)) - 0.5) < 0.05)).mean() > 0.999
        assert "masks have levels" in capture.facts["notes"][0]


def _with_masks(tmp_path: Path, truth: Callable[[int], Mask], of: Callable[[Mask], NDArray[np.uint8]], folder: str = "masks"):
    masks = _images(tmp_path / "clip" / "images", truth=truth)
    (tmp_path / "clip" / folder).mkdir()
    for number, mask in enumerate(masks):
        Image.fromarray(of(mask)).save(tmp_path / "clip" / folder / f"frame_{number + 1:05d}.png")
    return _read(tmp_path / "clip", tmp_path), masks


@pytest.mark.parametrize("size", [(WIDTH // 2, HEIGHT // 2), (WIDTH * 2, HEIGHT * 2), (53, 30)])
def test_masks_of_another_size_and_the_same_shape_serve(tmp_path: Path, size: tuple[int, int]) -> None:
    capture, truth = _with_masks(tmp_path, _disk, lambda mask: cv2.resize(_levels(mask), size, interpolation=cv2.INTER_AREA))
    assert _iou(capture, truth) > 0.85


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    wide = iter([WIDTH] * (COUNT - 1) + [WIDTH + 30])
    with pytest.raises(FourfoldError, match=r"190x90 for images of 160x90: give masks of the shape of their images"):
        _with_masks(tmp_path, _disk, lambda mask: cv2.resize(_levels(mask), (next(wide), HEIGHT)))


def test_masks_of_the_background_are_turned_round_and_said(tmp_path: Path) -> None:
    capture, truth = _with_masks(tmp_path, _disk, lambda m: _levels(~m))
    assert _iou(capture, truth) == 1.0
    assert "taken as the background" in capture.facts["notes"][0]


def test_a_large_inverted_object_is_told_by_motion(tmp_path: Path) -> None:
    capture, truth = _with_masks(tmp_path, lambda n: _disk(n, 36), lambda m: _levels(~m))
    assert 0.2 < truth[0].mean() < 0.5
    assert _iou(capture, truth) == 1.0


def test_a_large_moving_object_stays_one(tmp_path: Path) -> None:
    """A bus that fills most of the image and of its border, and moves: not inverted, but said."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "clip" / "images"
    folder.mkdir(parents=True)
    (tmp_path / "clip" / "masks").mkdir()
    ground, bus = (cv2.resize(rng.integers(0, 255, (24, 40), np.uint8), (WIDTH, HEIGHT)) for _ in range(2))
    truth = []
    for number in range(COUNT):
        mask = np.abs(_X - 80) < 64
        image = np.where(mask, np.roll(bus, (5 * number, 11 * number), axis=(0, 1)), ground)
        Image.fromarray(image).convert("RGB").save(folder / f"{number}.png")
        Image.fromarray(_levels(mask)).save(tmp_path / "clip" / "masks" / f"{number}.png")
        truth.append(mask)
    capture = _read(tmp_path / "clip", tmp_path)
    assert _iou(capture, truth) == 1.0
    assert "more than half is taken as the object" in capture.facts["notes"][0]


def test_masks_that_mark_nothing_are_said(tmp_path: Path) -> None:
    capture, _ = _with_masks(tmp_path, _disk, lambda m: np.zeros(m.shape, np.uint8))
    assert "mark nothing" in capture.facts["notes"][0]
    assert (capture.mask(0, 0) == -1).all()


def test_masks_of_valid_pixels_are_another_thing(tmp_path: Path) -> None:
    capture, truth = _with_masks(tmp_path, _disk, lambda m: _levels(~m), folder="valid_masks")
    assert capture.mask(0, 0) is None
    alpha = capture.alpha(0, 3)
    assert alpha is not None
    np.testing.assert_array_equal(alpha, _levels(~truth[3]))
    assert capture.facts["alpha_means"] == "valid"


@pytest.mark.parametrize("turned", [True, False])
def test_masks_of_turned_photos(tmp_path: Path, turned: bool) -> None:
    """Photos that EXIF turns by 90 degrees, with masks of the stored pixels or of the upright ones."""
    truth = _images(tmp_path / "clip" / "images")
    (tmp_path / "clip" / "masks").mkdir()
    for number, mask in enumerate(truth):
        path = tmp_path / "clip" / "images" / f"frame_{number + 1:05d}.jpg"
        image = Image.open(path)
        tags = image.getexif()
        tags[0x0112] = 6
        image.save(path, exif=tags)
        Image.fromarray(_levels(mask if turned else np.rot90(mask, -1))).save(tmp_path / "clip" / "masks" / f"frame_{number + 1:05d}.png")
    assert _iou(_read(tmp_path / "clip", tmp_path), [np.rot90(m, -1) for m in truth]) == 1.0


def test_names_that_do_not_fit_are_not_paired() -> None:
    images = [Path(f"a{n}.jpg") for n in (1, 2)]
    assert paired(images, [Path("m1.png"), Path("m3.png")]) is None
    assert paired(images, [Path("x1.png"), Path("x2.png")], by_number=False) is None
    assert paired(images, [Path("x2.png"), Path("x1.png"), Path("x9.png")]) == [Path("x1.png"), Path("x2.png")]


def test_masks_of_a_colmap_folder(tmp_path: Path) -> None:
    truth = _images(tmp_path / "clip" / "images", "{:04d}.jpg")
    (tmp_path / "clip" / "masks").mkdir()
    model = tmp_path / "clip" / "sparse" / "0"
    model.mkdir(parents=True)
    (model / "cameras.txt").write_text(f"1 PINHOLE {WIDTH} {HEIGHT} 120 120 80 45\n")
    (model / "images.txt").write_text("".join(f"{n + 1} 1 0 0 0 {0.1 * n} 0 0 1 {n + 1:04d}.jpg\n\n" for n in range(COUNT)))
    for number, mask in enumerate(truth):
        Image.fromarray(_levels(~mask)).save(tmp_path / "clip" / "masks" / f"{number + 1:04d}.jpg.png")
    assert _iou(_read(tmp_path / "clip", tmp_path), truth) == 1.0
    assert open_source([tmp_path / "clip"], CaptureOptions()).layout == "colmap"
