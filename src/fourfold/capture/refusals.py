"""Why a path is not read: what is there, in one true sentence, with what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from fourfold.capture.frames import images_in, natural
from fourfold.capture.known_files import UNREAD
from fourfold.capture.readers.video_files import videos_in
from fourfold.untrusted.images import HEIF_SUFFIXES

MOST_FOLDERS = 200  # folders that are looked into
DEEPEST = 3
KINDS: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (tuple(sorted(HEIF_SUFFIXES)), "HEIC photos", "install pillow-heif (pip install 'fourfold[heic]'), or convert them to JPEG"),
    ((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".rw2", ".orf"), "raw photos", "develop them to JPEG, PNG or TIFF"),
    ((".exr", ".hdr"), "floating-point images", "convert them to 16-bit PNG or TIFF"),
    ((".mpo",), "stereo photos", "take their two pictures apart and save them as JPEG, or give a film"),
    ((".jxl", ".jp2", ".psd", ".avif"), "images of a kind that is not read", "convert them to JPEG or PNG"),
    ((".insv", ".insp", ".360", ".lrv"), "recordings of a 360 degree camera", "export ordinary (reframed) films with the maker's program"),
    ((".svo", ".svo2"), "a ZED recording", "export its left and right films with ZED Explorer"),
    ((".r3d",), "a recording of Record3D or a RED camera", "rename Record3D's to .zip, unpack it and give that folder; export RED's as MP4"),
    ((".braw", ".mxf", ".y4m", ".vrs", ".bag", ".mcap"), "a recording that is not read", "convert it to MP4 (H.264)"),
    ((".zip", ".tar", ".tgz", ".gz", ".7z", ".rar"), "an archive", "unpack it and give the folder"),
    ((".ply", ".splat", ".ksplat", ".spz", ".sog"), "a finished scene of Gaussians or points", "give the film it was made of"),
)


def why_not(path: Path, layouts: Iterable[str]) -> str:
    """The sentence on `path`, which no reader recognises."""
    if not path.is_dir():
        kind = _kind(path.suffix.lower())
        return f"{path} is {kind}" if kind else f"{path} is a file that is neither a video nor a folder: give one of the layouts {', '.join(layouts)}"
    suffixes = [p.suffix.lower() for p in path.iterdir() if p.is_file()]
    for known in dict.fromkeys(suffixes):
        if kind := _kind(known):
            return f"{path} holds files {known} ({suffixes.count(known)}), {kind}"
    for known in UNREAD:
        for pattern in known.patterns:
            if found := next((p for p in sorted(path.glob(pattern)) if p.is_file()), None):
                return f"{path} holds {found.relative_to(path)}, {known.what}, which is not read: {known.because}"
    if dead := sorted(p.name for p in path.iterdir() if p.is_symlink() and not p.exists()):
        return f"{path} holds links that lead nowhere ({', '.join(dead[:3])}): copy the files themselves"
    if deeper := _deeper(path):
        return f"{path} holds nothing that is read in itself, but {deeper} does: give that folder"
    wanted = "images, videos or a known dataset"
    return f"{path} is a folder without {wanted}, {DEEPEST} folders down: give one of the layouts {', '.join(layouts)}"


def _kind(suffix: str) -> str | None:
    return next((f"{what}: {do}" for suffixes, what, do in KINDS if suffix in suffixes), None)


def _deeper(root: Path) -> Path | None:
    """The first folder below, not more than a few levels down, with images or videos in it."""
    level, looked = [root], 0
    for _ in range(DEEPEST):
        level = [p for folder in level for p in sorted(folder.iterdir(), key=lambda p: natural(p.name)) if p.is_dir() and not p.name.startswith(".")]
        for folder in level:
            looked += 1
            if looked > MOST_FOLDERS:
                return None
            if images_in(folder) or videos_in(folder):
                return folder
    return None
