"""What was filmed, in the live viewer: the cameras in the scene, and the nearest frame beside the render through its own camera."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.export.speed import at_speed_of
from fourfold.geometry.camera import Camera
from fourfold.live.cameras import Pose, filmed_cameras, nearest_filmed
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import CameraFrustumHandle, GuiEvent

MOST_FRUSTA = 60
SIZE = 0.06  # of a frustum, in distances between the cameras and what they look at
WIDEST = 480  # pixels of the pictures that are compared
PAUSE = 0.5  # seconds from one comparison to the next while something moves
SAME = 1 / 255  # a root mean square error that counts as none


class FilmedPanel:
    """Frusta of the filmed cameras, and the comparison with the nearest frame."""

    def __init__(self, viewer: LiveViewer, capture: Capture) -> None:
        self.viewer, self.capture, gui = viewer, capture, viewer.server.gui
        with gui.add_folder("Filmed"):
            cameras = gui.add_checkbox("Cameras", False, hint="Click a camera to look through it")
            self.beside = gui.add_checkbox("Beside", False, hint="The nearest filmed frame beside the render through its camera")
            self.sentence = gui.add_text("Frame", "", disabled=True, visible=False)
            self.image = gui.add_image(np.zeros((2, 4, 3), np.uint8), label="render | filmed", format="jpeg", visible=False)
        self.frusta: list[CameraFrustumHandle] = []
        self._compared: object = None
        self._compared_at = 0.0
        cameras.on_update(lambda _: viewer.ask(lambda: self._show_cameras(cameras.value)))

        @self.beside.on_update
        def _(_: GuiEvent[Any]) -> None:
            self.image.visible = self.sentence.visible = self.beside.value
            viewer.ask(lambda: self._compare(now=True))

        viewer.looked.append(self._compare)

    def _show_cameras(self, shown: bool) -> None:
        if shown and not self.frusta:
            self._add_frusta()
        for frustum in self.frusta:
            frustum.visible = shown
        self.viewer.overlay("cameras", shown)

    def _add_frusta(self) -> None:
        filmed = filmed_cameras(self.capture)
        chosen = [filmed[i] for i in np.unique(np.linspace(0, len(filmed) - 1, min(len(filmed), MOST_FRUSTA)).astype(int))] if filmed else []
        poses = [Pose.of_filmed(self.capture.camera_at(view, index)) for view, index in chosen]
        size = SIZE * self.viewer.reach
        for number, ((_, index), pose) in enumerate(zip(chosen, poses, strict=True)):
            frustum = self.viewer.server.scene.add_camera_frustum(
                f"/filmed/{number}", pose.field, pose.aspect, scale=size, color=(255, 160, 0), wxyz=pose.wxyz, position=pose.position
            )
            seconds = float(self.capture.timestamps[index])
            frustum.on_click(lambda event, pose=pose, seconds=seconds: self.viewer.ask(lambda: self.viewer.show_from(event.client, pose, seconds)))
            self.frusta.append(frustum)

    def _compare(self, now: bool = False) -> None:
        """Draw the comparison again where something has changed, not more often than is bearable."""
        if not self.beside.value:
            return
        viewer = self.viewer
        client = next(iter(viewer.server.get_clients().values()), None)
        capture = at_speed_of(viewer.scene, self.capture)
        found = nearest_filmed(capture, viewer.clock.time, viewer.pose_of(client))
        wanted = (found, viewer.look, viewer.version)
        if found is None or wanted == self._compared or (not now and time.monotonic() - self._compared_at < PAUSE):
            return
        view, index = found
        camera = capture.camera_at(view, index)
        seconds = float(capture.timestamps[index])
        pair, error = compared(viewer.drawer.draw(replace(viewer.look, time=seconds), _small(camera)).image, capture.image(view, index))
        self.image.image = pair
        alike = "alike" if error < SAME else f"{-20 * np.log10(error):.1f} dB"
        self.sentence.value = f"{capture.view_names[view]}, {seconds:.2f} s" + (f", {alike}" if viewer.look.colouring == "colour" else "")
        self._compared, self._compared_at = wanted, time.monotonic()


def compared(drawn: NDArray[np.uint8], filmed: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The picture (H, W, 3) with the filmed frame, made as large, at its right, and their root mean square difference in [0, 1]."""
    height, width = drawn.shape[:2]
    frame = np.ascontiguousarray(filmed)
    frame = frame if frame.shape == drawn.shape else np.asarray(cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    error = float(np.sqrt(np.mean((drawn.astype(np.float64) - frame) ** 2))) / 255
    return np.concatenate([drawn, frame], axis=1), error


def _small(camera: Camera) -> Camera:
    return camera.scaled(min(1.0, WIDEST / camera.width))
