"""Files of unknown origin: limits hold before anything is allocated, and what does not fit its kind gets a sentence."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import capture_files as files
from fourfold.capture import CaptureOptions, prepare_capture
from fourfold.capture.discover import open_source
from fourfold.errors import FourfoldError
from fourfold.untrusted.arrays import archive_names, array_shape, load_archive, load_array
from fourfold.untrusted.files import below, is_file, read_text
from fourfold.untrusted.images import exif_tags, opened_image
from fourfold.untrusted.markup import load_xml, load_yaml
from fourfold.untrusted.records import Record, load_json, load_record, load_toml, number, numbers


def _npy(shape: tuple[int, ...], data: bytes, descr: str = "<f4") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def test_arrays_come_back(tmp_path: Path) -> None:
    values = np.asfortranarray(np.arange(24.0).reshape(2, 3, 4))
    np.save(tmp_path / "a.npy", values)
    np.savez_compressed(tmp_path / "a.npz", one=values, two=np.arange(3))
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy", (2, None, 4)), values)
    np.testing.assert_array_equal(load_array(tmp_path / "a.npy", mapped=True), values)
    assert archive_names(tmp_path / "a.npz") == ["one", "two"] and array_shape(tmp_path / "a.npz", "one") == (2, 3, 4)
    found = load_archive(tmp_path / "a.npz", {"one": None, "two": (3,)})
    np.testing.assert_array_equal(found["one"], values)
    found["two"][0] = 7  # a result of its own, that may be written


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cannot be read as an array"),
        (_npy((3, 4), b"\0" * 40), "is cut short: 40 of 48 bytes"),
        (_npy((1 << 40, 1 << 20), b""), "is cut short"),
        (_npy((2,), b"\0" * 16, "|O"), "expected numbers"),
        (_npy((2,), b"\0" * 16, "<U2"), "expected numbers"),
        (_npy((2,), b"\0" * 8).replace(b"'shape': (2,)", b"'shape': (2, "), "cannot be read as an array"),
        (_npy((-1,), b"\0" * 8), "no array can have"),
    ],
)
def test_damaged_arrays(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "a.npy").write_bytes(data)
    with pytest.raises(FourfoldError, match=words):
        load_array(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", data)
    with pytest.raises(FourfoldError):
        load_archive(tmp_path / "a.npz", {"a": None})


def test_an_archive_that_unpacks_to_gigabytes_allocates_nothing(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive, archive.open("depths.npy", "w", force_zip64=True) as file:
        file.write(_npy((500, 1024, 1024), b""))
        for _ in range(64):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(FourfoldError, match="unpacks to 2000 MB, at most 1024"):
        load_archive(tmp_path / "a.npz", {"depths": None})
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def test_yaml_entries_are_named_by_text(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("0x10:\n  camera_model: pinhole\n1: [{2: x}]\n~: y\n")
    assert load_yaml(tmp_path / "a.yaml").value == {"16": {"camera_model": "pinhole"}, "1": [{"2": "x"}], "None": "y"}


def _png(width: int, height: int, promised: int) -> bytes:
    def chunk(kind: bytes, data: bytes, length: int | None = None) -> bytes:
        return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64), promised) + chunk(b"IEND", b"")


def test_images_are_bounded_before_they_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "large.png").write_bytes(_png(13_000, 13_000, 10))
    with pytest.raises(FourfoldError, match="is 13000x13000, at most 100 million pixels"), opened_image(tmp_path / "large.png"):
        pass
    (tmp_path / "promise.png").write_bytes(_png(4, 4, 0x7FFFFFFF))
    tracemalloc.start()
    with opened_image(tmp_path / "promise.png") as image:  # 2 GB of pixels are promised, as many as there are are read
        np.asarray(image)
    assert exif_tags(tmp_path / "promise.png") == {}
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()
    good = io.BytesIO()
    Image.fromarray(np.full((4, 6, 3), 9, np.uint8)).save(good, "PNG")
    (tmp_path / "good.png").write_bytes(good.getvalue())
    with opened_image(tmp_path / "good.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.full((4, 6, 3), 9))


def test_small_and_huge_pictures_get_a_sentence(tmp_path: Path) -> None:
    files.write_video(tmp_path / "small.mp4", files.grey_ramp(4, 8, 8))
    with pytest.raises(FourfoldError, match="has images of 8x8 pixels: at least 12 a side"):
        prepare_capture([tmp_path / "small.mp4"], tmp_path / "out", pixels=10_000)
    for i in range(2):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / f"{i}.tif")
    data = bytearray((tmp_path / "0.tif").read_bytes())
    for tag in (256, 257):  # width and length
        at = next(i for i in range(len(data) - 12) if struct.unpack_from("<HHI", data, i) in ((tag, 3, 1), (tag, 4, 1)))
        struct.pack_into("<HHII", data, at, tag, 4, 1, 13_000)
    (tmp_path / "huge").mkdir()
    (tmp_path / "huge" / "0.tif").write_bytes(data)
    with pytest.raises(FourfoldError, match="million"):
        open_source([tmp_path / "huge"], CaptureOptions())


def test_records_ask_for_kinds() -> None:
    record = Record({"w": "640", "x": [1, [2.5]], "n": None, "t": True, "inf": 1e999, "id": 3.0, "big": 10**400}, "f.json")
    assert record.number("w") == 640 and record.values("x") == [1, 2.5] and record.label("id") == "3" and record.number("n", 4.0) == 4.0
    assert not record.has("n") and record.first("n", "w") == "w"
    for ask in (lambda: record.number("t"), lambda: record.number("inf"), lambda: record.number("big"), lambda: record.whole("x")):
        with pytest.raises(FourfoldError, match=r"f\.json"):
            ask()
    with pytest.raises(FourfoldError, match="no entry 'y'"):
        record.text("y")
    with pytest.raises(FourfoldError, match="holds more than 64"):
        Record({"x": [[0.0] * 40] * 40}, "f").values("x")


def test_lists_of_another_shape_are_refused_before_they_are_walked() -> None:
    np.testing.assert_array_equal(numbers([[1, 2], [3, 4]], (2, 2), "m"), [[1, 2], [3, 4]])
    itself: list = [1]
    itself.append(itself)
    for value in ([[1, 2], [3]], [[1, 2], [3, "x"]], itself, {"a": 1}, None, [[1, 2], [3, True]], [[1, 2], [3, 10**400]]):
        with pytest.raises(FourfoldError, match=r"^m "):
            numbers(value, (2, 2), "m")
    assert number("1e3", "n") == 1000


def test_text_formats(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" * 100_000)
    with pytest.raises(FourfoldError, match="not valid JSON"):
        load_json(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FourfoldError, match="is not text"):
        load_json(path)
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode())
    assert load_record(path).whole("a") == 1
    path.write_text("[1]")
    with pytest.raises(FourfoldError, match="a list of 1, expected an object"):
        load_record(path)
    (tmp_path / "a.toml").write_text("a = [[[")
    with pytest.raises(FourfoldError, match="not valid TOML"):
        load_toml(tmp_path / "a.toml")
    with pytest.raises(FourfoldError, match="is missing"):
        read_text(tmp_path / "none.txt")


def test_xml_declares_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text('<a b="1"><c>two</c></a>')
    assert (load_xml(path).attrib, load_xml(path).findtext("c")) == ({"b": "1"}, "two")
    laughs = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 9))
    for text in (f'<!DOCTYPE a [<!ENTITY l0 "ha">{laughs}]><a>&l8;</a>', '<!DOCTYPE a SYSTEM "file:///etc/hostname"><a/>'):
        for encoding in ("utf-8", "utf-16"):
            path.write_bytes(text.encode(encoding))
            with pytest.raises(FourfoldError, match="document type or entities"):
                load_xml(path)
    path.write_text("<a><b></a>")
    with pytest.raises(FourfoldError, match="not valid XML"):
        load_xml(path)


def test_yaml_also_of_opencv(tmp_path: Path) -> None:
    path = tmp_path / "intri.yml"
    path.write_text('%YAML:1.0\n---\nnames:\n   - "01"\nK_01: !!opencv-matrix\n   rows: 1\n   cols: 2\n   dt: d\n   data: [ 1., 2.5e+02 ]\n')
    record = load_yaml(path)
    assert record.listed("names") == ["01"] and record.record("K_01").values("data") == [1, 250]
    for text in ("a: &x [1]\nb: *x\n", "a: !!python/object/apply:os.system ['true']\n", "a: [1\n", "\tx", "- 1\n", "? [a]\n: b\n"):
        path.write_text(text)
        with pytest.raises(FourfoldError):
            load_yaml(path)


def test_paths_that_files_name(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / "1.png").write_bytes(b"x")
    assert below(tmp_path, "rgb\\1.png") == tmp_path / "rgb" / "1.png"
    (tmp_path / "a\\b.png").write_bytes(b"x")
    assert below(tmp_path, "a\\b.png") == tmp_path / "a\\b.png"  # a name that really holds one
    assert not is_file(tmp_path / ("é" * 300)) and not is_file(Path("a\0b"))
