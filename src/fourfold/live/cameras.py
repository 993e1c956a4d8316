"""Cameras of browsers and of the capture: one becomes the other, and the filmed one nearest to where somebody looks from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.export.paths import object_center
from fourfold.geometry.camera import Camera
from fourfold.geometry.rigid import make_rigid
from fourfold.geometry.rotations import matrix_to_quat, quat_to_matrix
from fourfold.scene.scene import Scene

APART = 3.0  # of the size of a scene without cameras: how far away one begins
FIELD = math.radians(50)  # vertical field of view of such a beginning
TURN = 0.5  # what a radian between two directions counts, in median distances to the cameras, when the nearest one is looked for


class BrowserCamera(Protocol):
    """A client's camera as viser tells it: rotation camera to world and position, OpenCV axes; vertical field of view, radians; pixels."""

    @property
    def wxyz(self) -> NDArray[np.float64]: ...
    @property
    def position(self) -> NDArray[np.float64]: ...
    @property
    def fov(self) -> float: ...
    @property
    def image_width(self) -> int: ...
    @property
    def image_height(self) -> int: ...


@dataclass(frozen=True)
class Pose:
    """Where a browser's camera stands: position (3,), rotation camera to world w x y z, vertical field of view in radians, width over height."""

    position: tuple[float, ...]
    wxyz: tuple[float, ...]
    field: float
    aspect: float

    @staticmethod
    def of(camera: BrowserCamera) -> Pose:
        """The pose of a client's camera. FourfoldError if it is none: programs may send anything."""
        aspect = max(camera.image_width, 1) / max(camera.image_height, 1)
        pose = Pose(tuple(map(float, camera.position)), tuple(map(float, camera.wxyz)), float(camera.fov), aspect)
        numbers = (*pose.position, *pose.wxyz, pose.field)
        if len(numbers) != 8 or not all(map(math.isfinite, numbers)) or not 0 < pose.field < math.pi or not any(pose.wxyz):
            raise FourfoldError("a browser sent a camera that is none")
        return pose

    @staticmethod
    def of_filmed(camera: Camera) -> Pose:
        """The pose of a filmed camera, whose principal point a browser does not know."""
        wxyz = matrix_to_quat(camera.world_to_camera[:3, :3].T.double())
        field = 2 * math.atan(camera.height / (2 * float(camera.K[1, 1])))
        return Pose(tuple(camera.center.tolist()), tuple(wxyz.tolist()), field, camera.width / camera.height)

    def camera(self, longest: int) -> Camera:
        """The pinhole camera with square pixels whose image is at most `longest` pixels wide and high."""
        width, height = (longest, round(longest / self.aspect)) if self.aspect >= 1 else (round(longest * self.aspect), longest)
        width, height = max(width, 1), max(height, 1)
        focal = height / (2 * math.tan(self.field / 2))
        K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64)
        rotation = quat_to_matrix(torch.tensor(self.wxyz, dtype=torch.float64)).T
        pose = make_rigid(rotation, -rotation @ torch.tensor(self.position, dtype=torch.float64))
        return Camera(K.float(), pose.float(), width, height)


def first_pose(scene: Scene, capture: Capture | None) -> tuple[Pose, NDArray[np.float64]]:
    """Where to look from at first, and the point to look at: the first filmed camera, or from some way off a scene that brought none."""
    begin = scene.time_range[0]
    if capture is not None and (filmed := filmed_cameras(capture)):
        camera = capture.camera_at(*filmed[0])
        return Pose.of_filmed(camera), object_center(scene, begin, camera).double().cpu().numpy()
    with torch.no_grad():
        means = scene.at(begin).means.double().cpu()
    middle = means.median(0).values
    spread = float((means - middle).norm(dim=1).quantile(0.8)) if len(means) < 1_000_000 else float((means[::16] - middle).norm(dim=1).quantile(0.8))
    down = -torch.nn.functional.normalize(torch.tensor(scene.up, dtype=torch.float64), dim=0)
    forward = torch.linalg.cross(down, torch.eye(3, dtype=torch.float64)[int(down.abs().argmin())])
    forward = torch.nn.functional.normalize(forward, dim=0)
    rotation = torch.stack([torch.linalg.cross(down, forward), down, forward], dim=1)
    position = middle - APART * max(spread, 1e-6) * forward
    pose = Pose(tuple(position.tolist()), tuple(matrix_to_quat(rotation).tolist()), FIELD, 1.5)
    return pose, middle.numpy()


def filmed_cameras(capture: Capture) -> list[tuple[int, int]]:
    """(view, time index) of every image whose camera is known."""
    known = capture.posed & capture.present
    return [(int(v), int(t)) for v, t in np.argwhere(known)]


def nearest_filmed(capture: Capture, time: float, pose: Pose) -> tuple[int, int] | None:
    """(view, time index) of the image of the moment nearest to `time` whose camera is nearest to `pose` in place and direction; None without one."""
    filmed = np.array(filmed_cameras(capture)).reshape(-1, 2)
    if not len(filmed):
        return None
    late = np.abs(capture.timestamps[filmed[:, 1]] - time)
    now = filmed[late <= late.min() + 1e-9]
    poses = capture.world_to_camera[now[:, 0], now[:, 1]]
    centers = -np.einsum("nji,nj->ni", poses[:, :3, :3], poses[:, :3, 3])
    ahead = quat_to_matrix(torch.tensor(pose.wxyz, dtype=torch.float64)).numpy()[:, 2]
    apart = np.linalg.norm(centers - np.array(pose.position), axis=1)
    angle = np.arccos(np.clip(poses[:, 2, :3] @ ahead, -1, 1))
    view, index = now[int(np.argmin(apart / max(float(np.median(apart)), 1e-9) + TURN * angle))]
    return int(view), int(index)
