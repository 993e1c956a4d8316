"""Points that somebody clicked, followed through the recording and drawn as lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fourfold.errors import FourfoldError
from fourfold.export.tracking import TrackingConfig, world_paths
from fourfold.live.cameras import Pose
from fourfold.live.numbers import within
from fourfold.live.viewer import LiveViewer

if TYPE_CHECKING:
    from viser import PointCloudHandle, SceneClickEvent

MOMENTS = 120  # at most, of a line
SIDE = 640  # pixels of the picture in which the point is looked for
DOT = 0.006  # size of the dot at the present moment, in distances between the first camera and what it looks at


@dataclass(frozen=True)
class _Trail:
    times: NDArray[np.float64]
    places: NDArray[np.float32]
    dot: PointCloudHandle


class TrailPanel:
    """Clicks in the picture become trails: blue where a point was early, red where it is late."""

    def __init__(self, viewer: LiveViewer) -> None:
        self.viewer, self.trails, gui = viewer, list[_Trail](), viewer.server.gui
        with gui.add_folder("Tracks"):
            self.following = gui.add_checkbox("Click to follow", True, hint="A click in the picture follows the point that is seen there")
            clear = gui.add_button("Forget all")
        clear.on_click(lambda _: viewer.ask(self._clear))
        viewer.moved_on.append(self._mark)
        viewer.renewed.append(self._clear)

        @viewer.server.scene.on_click()
        def _(event: SceneClickEvent) -> None:
            if self.following.value:
                viewer.ask(lambda: self._follow(Pose.of(event.client.camera), event.screen_pos))

    def _follow(self, pose: Pose, place: tuple[float, float]) -> None:
        viewer, camera = self.viewer, pose.camera(SIDE)
        begin, end = viewer.scene.time_range
        times = np.linspace(begin, end, MOMENTS if end > begin else 1)
        pixel = torch.tensor([[within(place[0], 0, 1) * camera.width, within(place[1], 0, 1) * camera.height]])
        paths, alpha = world_paths(viewer.scene, (viewer.clock.time, camera), pixel, times.tolist())
        if float(alpha[0]) < TrackingConfig().smallest_alpha:
            raise FourfoldError("nothing is there to be followed: click where the scene is opaque")
        self._draw(times, paths[0].float().cpu().numpy())

    def _draw(self, times: NDArray[np.float64], places: NDArray[np.float32]) -> None:
        number, scene = len(self.trails), self.viewer.server.scene
        if len(places) > 1:
            colors = trail_colors(len(places))
            scene.add_line_segments(
                f"/trails/{number}/line",
                np.stack([places[:-1], places[1:]], axis=1),
                np.stack([colors[:-1], colors[1:]], axis=1),
                thickness=3.0,
                thickness_units="screen",
            )
        size = DOT * self.viewer.reach
        dot = scene.add_point_cloud(f"/trails/{number}/dot", places[:1], (255, 255, 255), point_size=size, point_shape="circle")
        self.trails.append(_Trail(times, places, dot))
        self._mark()
        self.viewer.overlay("trails", True)

    def _mark(self) -> None:
        """Put the dots where the points are now."""
        for trail in self.trails:
            now = self.viewer.clock.time
            trail.dot.points = np.array([[np.interp(now, trail.times, trail.places[:, axis]) for axis in range(3)]], np.float32)

    def _clear(self) -> None:
        for number in range(len(self.trails)):
            self.viewer.server.scene.remove_by_name(f"/trails/{number}")
        self.trails.clear()
        self.viewer.overlay("trails", False)


def trail_colors(count: int) -> NDArray[np.uint8]:
    """(count, 3) from blue to red."""
    ramp: Any = np.linspace(30, 235, count).astype(np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO), np.uint8)[:, 0, ::-1]
