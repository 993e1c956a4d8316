"""The images that the static fit works on: small, with their cameras and the tracks' suspicion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fourfold.capture.capture import Capture
from fourfold.geometry.camera import Camera


@dataclass(frozen=True)
class StillFrame:
    """One image: its view and time index, image (h, w, 3) uint8 RGB, camera of that size, suspicion (h, w) float32 in [0, 1] that a pixel
    moves, whether it is a training image (others are explained, never fitted), and its width over that of the stored image."""

    view: int
    index: int
    image: NDArray[np.uint8]
    camera: Camera
    suspicion: NDArray[np.float32]
    train: bool
    shrink: float = 1.0

    @property
    def color(self) -> NDArray[np.float32]:
        """(h, w, 3) RGB in [0, 1]."""
        return self.image.astype(np.float32) / 255


def still_frames(capture: Capture, suspicion: Mapping[int, NDArray[np.float16]], side: int, near: float) -> list[StillFrame]:
    """Every present image of the views in `suspicion` whose camera is known, by view and time.

    Args:
        suspicion: by view (T, ., .), on a grid of any size.
        side: longer side of the images, pixels; smaller ones are left as they are.
        near: depth, scene units, before which nothing is drawn.
    """
    known = np.isfinite(capture.world_to_camera).all((2, 3)) & np.isfinite(capture.K).all((2, 3)) & capture.present
    result: list[StillFrame] = []
    for view, index in np.argwhere(known):
        view, index = int(view), int(index)
        if view not in suspicion:
            continue
        camera = capture.camera_at(view, index)
        camera = replace(camera.scaled(min(1.0, side / max(camera.width, camera.height))), near=near)
        size = (camera.width, camera.height)
        image = cv2.resize(np.asarray(capture.image(view, index)), size, interpolation=cv2.INTER_AREA)
        doubt = cv2.resize(suspicion[view][index].astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        result.append(StillFrame(view, index, image, camera, doubt, bool(capture.train[view, index]), camera.width / float(capture.sizes[view][0])))
    return result
