"""Files that lie beside a capture, are known, and were not read: each is named with the reason, so that nobody thinks they served."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fourfold.capture.calibrations import calibration_files
from fourfold.capture.frames import images_in
from fourfold.capture.mask_names import MASK_FOLDERS, masks_in
from fourfold.capture.readers.colmap_model import model_folder
from fourfold.capture.readers.image_folder import IMAGE_FOLDERS
from fourfold.capture.video import is_video
from fourfold.untrusted.files import is_file

MOST_NAMED = 4  # of one kind


@dataclass(frozen=True)
class KnownFile:
    """A kind of file that is not read.

    Attributes:
        patterns: where it lies below the capture's folder.
        what: what it is.
        because: why it is not read, and what to do.
    """

    patterns: tuple[str, ...]
    what: str
    because: str


_PICKLE = "a pickled file can run code when it is opened: convert it to Calib.toml (Pose2Sim's calibration converts OpenCap's files)"

UNREAD = (
    KnownFile(
        ("Videos/*/cameraIntrinsicsExtrinsics.pickle", "*/cameraIntrinsicsExtrinsics.pickle", "*.pickle", "calibration/*.pickle"),
        "camera parameters as a pickle",
        _PICKLE,
    ),
    KnownFile(("*.r3d",), "a Record3D recording in its own format", "rename it to .zip, unpack it and give that folder"),
    KnownFile(("*.svo", "*.svo2"), "a ZED recording", "export its left and right films with ZED Explorer"),
    KnownFile(("SN*.conf",), "a ZED factory calibration", "its numbers are of unrectified films: give rectified films, or an OpenCV yaml per camera"),
    KnownFile(("zed_calibration.json", "*fusion*.json"), "a ZED fusion configuration", "convert the poses to Calib.toml or transforms.json"),
    KnownFile(("*.xcp",), "a Vicon calibration", "convert it to Calib.toml (Pose2Sim does)"),
    KnownFile(("*.calib",), "a BioCV calibration", "convert it to Calib.toml (Pose2Sim does)"),
    KnownFile(("*.mcal", "*.cal"), "an OptiTrack calibration", "export it for OpenCV or convert it to Calib.toml"),
    KnownFile(("*.psx", "*.psz"), "a Metashape project", "export the cameras as XML (File, Export, Export Cameras)"),
    KnownFile(("*.rcproj", "*.rsproj"), "a RealityCapture project", "export internal and external camera parameters as csv"),
    KnownFile(("*.blend",), "a Blender scene", "export its cameras as transforms.json"),
    KnownFile(("bundle.out", "*.nvm", "reconstruction.json", "cameras.sfm", "*.mvs"), "cameras of another program", "convert them to a COLMAP model"),
    KnownFile(("*.insv", "*.insp", "*.360", "*.lrv"), "recordings of a 360 degree camera", "export reframed films with the maker's program"),
    KnownFile(("*.vrs",), "an Aria recording", "export its images and trajectory first"),
    KnownFile(("*.bag", "*.mcap", "*.db3"), "a ROS recording", "export its images as films first"),
    KnownFile(("lowres_wide.traj", "*.pincam"), "ARKitScenes' trajectories", "convert them to transforms.json"),
    KnownFile(("meta_data.json",), "cameras of SDFStudio", "write them as transforms.json"),
    KnownFile(("cameras.npz", "cameras_sphere.npz"), "cameras of IDR or NeuS", "convert them to a COLMAP model or transforms.json"),
    KnownFile(("groundtruth.txt", "*traj*.txt", "poses.txt", "*.traj"), "a trajectory without focal lengths", "write it as transforms.json"),
    KnownFile(("pose/*.txt", "poses/*.txt"), "a pose per image as text", "write them as transforms.json"),
    KnownFile(("cameras.json", "cams/*_cam.txt"), "cameras of another program", "convert them to a COLMAP model or transforms.json"),
    KnownFile(("masks.npy", "masks.npz", "mask.npy", "mask.npz"), "masks of all images in one array", "write one file per image into masks/"),
    KnownFile(("*calib*.json", "*intrinsic*.*", "*extrinsic*.*"), "a calibration of an unknown form", "convert it to Calib.toml or OpenCV yaml"),
    KnownFile(("database.db",), "COLMAP's database without a model", "run the mapper to its end, or remove it"),
)


def unread(root: Path, layout: str, posed: bool, masked: bool) -> list[str]:
    """Sentences "found X, not read: why" on known files in the folder `root`, read as `layout`; `posed`, `masked`: it gave cameras, masks."""
    if not root.is_dir():
        return []
    said = [f"found {name} ({kind.what}), not read: {kind.because}" for kind in UNREAD for name in _names(root, kind)]
    loose = "of an unknown form", "database.db"  # of interest only where no cameras were read
    return [*(s for s in said if not (posed and any(words in s for words in loose))), *_others(root, layout), *_mask_layers(root, masked)]


def _mask_layers(root: Path, masked: bool) -> Iterator[str]:
    """A folder of masks that holds a folder per object, of which none was read."""
    for name in MASK_FOLDERS if not masked else ():
        if (root / name).is_dir() and not masks_in(root / name) and any(masks_in(p) for p in (root / name).iterdir() if p.is_dir()):
            yield f"found {name} with folders in it, not read: call it sam2 if there is one per object, or write one mask per image"


def _others(root: Path, layout: str) -> Iterator[str]:
    """Files that another layout would have read."""
    told = f"not read: the cameras come from {layout}" if layout not in ("images", "video", "videos") else "not read: it does not go with the images"
    model = model_folder(root)
    if model is not None and layout != "colmap":
        yield f"found {model.relative_to(root)} (a COLMAP model), {told}"
    read_by: dict[str, tuple[str, ...]] = {"transforms.json": ("nerfstudio", "dnerf"), "poses_bounds.npy": ("llff", "nvidia", "n3dv")}
    read_by["poses_bounds_multipleview.npy"] = ("colmap",)
    for name, readers in read_by.items():
        if is_file(root / name) and layout not in readers:
            yield f"found {name}, {told}"
    yield from _pictures(root, layout)
    found = calibration_files(root)
    if found is not None and layout != found[0].layout:
        yield f"found {found[1][0].name} ({found[0].name}), {told}"


def _pictures(root: Path, layout: str) -> Iterator[str]:
    """Images beside the films that were read, and films beside the images."""
    if layout in ("video", "videos"):
        for name in ("", *IMAGE_FOLDERS):
            if images := images_in(root / name):
                yield f"found {len(images)} image{'s' * (len(images) > 1)} in {name or 'the folder'}, not read: the films are"
    elif layout == "images" and (films := sorted(p.name for p in root.iterdir() if is_video(p))):
        yield f"found {', '.join(films[:MOST_NAMED])}, not read: the images are; give the film itself if it is meant"


def _names(root: Path, kind: KnownFile) -> list[str]:
    found = sorted({p.relative_to(root).as_posix() for pattern in kind.patterns for p in root.glob(pattern) if p.is_file()})
    return found[:1] if len(found) > MOST_NAMED else found
