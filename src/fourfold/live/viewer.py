"""The live viewer: draws the scene for whoever looks, coarsely while something moves and finely when it rests.

Everything that touches the scene happens in one thread, in turns; what people press becomes a job of that thread.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.errors import FourfoldError
from fourfold.live.cameras import Pose, first_pose
from fourfold.live.clock import Clock
from fourfold.live.drawing import COLOURINGS, Drawer, Look
from fourfold.live.edited import Edited
from fourfold.live.numbers import within
from fourfold.scene.scene import Scene

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

Newest = Callable[[str], tuple[str, Scene] | None]
"""The scene of a run as it was last written, with what tells it from others; None if that is the one named."""


@dataclass(frozen=True)
class Rates:
    """How finely and how often is drawn.

    Attributes:
        finest: longest side of a picture at rest, pixels.
        coarsest, most_coarse: between which the longest side of a picture of something that moves is chosen.
        target: seconds that such a picture may take.
        rest: seconds without movement after which a fine picture is drawn.
        idle: seconds between looks at whether a camera has moved, where nothing else happens.
        follow: seconds between looks for a newer scene.
    """

    finest: int = 1280
    coarsest: int = 160
    most_coarse: int = 640
    target: float = 0.08
    rest: float = 0.3
    idle: float = 0.04
    follow: float = 2.0


@dataclass
class Seat:
    """One browser: where its camera was when it was last looked at, since when, and what was drawn for it last."""

    pose: Pose
    since: float
    drawn: object = None
    fine: bool = False
    side: int = 320


@dataclass
class LiveViewer:
    """A scene that is being looked at.

    Attributes:
        server: where browsers come in.
        edited: the scene, with edits.
        capture: what was filmed, None where only a scene was given.
        out: folder into which films and edited scenes are written.
        newest: where a newer scene comes from while it is trained.
        stamp: what tells the scene from others.
        hidden, colouring: see `Look`.
        clock: the moment shown.
        overlays: names of what is drawn into the scene by the browser: cameras, trails.
        reach: distance from the first camera to what it looks at, scene units; sizes of what is drawn into the scene go by it.
        renewed, moved_on, looked: who is told that the scene is another one, that the time is, and that pictures were drawn.
        version: counts the scenes shown.
    """

    server: ViserServer
    edited: Edited
    capture: Capture | None
    out: Path
    newest: Newest | None = None
    stamp: str = ""
    rates: Rates = Rates()
    hidden: set[str] = field(default_factory=set)
    colouring: str = "colour"
    clock: Clock = field(init=False)
    overlays: set[str] = field(default_factory=set)
    renewed: list[Callable[[], None]] = field(default_factory=list)
    moved_on: list[Callable[[], None]] = field(default_factory=list)
    looked: list[Callable[[], None]] = field(default_factory=list)
    reach: float = 1.0
    version: int = 0

    def __post_init__(self) -> None:
        self.clock = Clock(*self.edited.scene.time_range, time=self.edited.scene.time_range[0])
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._seats: dict[int, Seat] = {}
        self._stopped = False
        self._passed, self._followed = time.monotonic(), time.monotonic()
        self.drawer = Drawer(self.edited.scene)
        self._look_from_first_camera()

    @property
    def scene(self) -> Scene:
        """The scene as it is shown."""
        return self.edited.scene

    @property
    def look(self) -> Look:
        """What is shown now."""
        return Look(self.clock.time, self.colouring, frozenset(self.hidden))

    def ask(self, job: Callable[[], None]) -> None:
        """Have `job` done by the thread that draws; what a user did wrong is shown to everybody who looks."""
        self._jobs.put(job)

    def run(self) -> None:
        """Draw until stopped."""
        while not self._stopped:
            self.turn()

    def stop(self) -> None:
        """Let `run` come to its end."""
        self.ask(lambda: setattr(self, "_stopped", True))

    def turn(self) -> None:
        """Do what was asked for, let time go on, look for a newer scene, and draw for everybody for whom something has changed."""
        self._work(0.0 if self.clock.playing and self._seats else self.rates.idle)
        now = time.monotonic()
        if self.clock.advance(now - self._passed):
            self._tell(self.moved_on)
        self._passed = now
        if now - self._followed > self.rates.follow:
            self._follow()
            self._followed = time.monotonic()
        self.draw_for_all()

    def draw_for_all(self) -> None:
        """Draw for every browser that does not show what it should."""
        clients = self.server.get_clients()
        self._seats = {number: seat for number, seat in self._seats.items() if number in clients}
        for client in clients.values():
            with suppress(FourfoldError):  # a camera that is none
                self._draw_for(client)
        if clients:
            self._tell(self.looked)

    def go_to(self, seconds: float) -> None:
        """Show another moment."""
        self.clock.time = within(seconds, self.clock.begin, self.clock.end)
        self._tell(self.moved_on)

    def show_as(self, colouring: str) -> None:
        """Show colours, depth, ...; a name that is none changes nothing."""
        if colouring in COLOURINGS:
            self.colouring = colouring

    def overlay(self, name: str, shown: bool) -> None:
        """Lines that lie in the scene are shown or not: with some, pictures are sent with their depth."""
        (self.overlays.add if shown else self.overlays.discard)(name)

    def changed(self) -> None:
        """The scene is another one."""
        self.version += 1
        self.drawer = Drawer(self.scene)
        self.clock.over(*self.scene.time_range)
        self._tell(self.renewed)

    def say(self, title: str, sentence: str) -> None:
        """Show a sentence to everybody who looks."""
        for client in self.server.get_clients().values():
            client.add_notification(title, sentence, auto_close_seconds=8.0)

    def pose_of(self, client: ClientHandle | None) -> Pose:
        """Where a browser looks from; without one the first filmed camera."""
        return first_pose(self.scene, self.capture)[0] if client is None else Pose.of(client.camera)

    def show_from(self, client: ClientHandle | None, pose: Pose, seconds: float) -> None:
        """Show `pose` at another moment: the moment to all, the camera to that browser."""
        if client is not None:
            with client.atomic():
                client.camera.position, client.camera.wxyz, client.camera.fov = np.array(pose.position), np.array(pose.wxyz), pose.field
        self.go_to(seconds)

    def _work(self, wait: float) -> None:
        try:
            job = self._jobs.get(timeout=wait) if wait else self._jobs.get_nowait()
            while True:
                try:
                    job()
                except FourfoldError as error:
                    self.say("That does not work", str(error))
                job = self._jobs.get_nowait()
        except queue.Empty:
            return

    def _follow(self) -> None:
        found = None if self.newest is None else self.newest(self.stamp)
        if found is not None:
            self.stamp, source = found
            lost = self.edited.renew(source)
            self.changed()
            if lost:
                self.say("Edits were dropped", f"the new scene does not allow: {', '.join(lost)}")

    def _draw_for(self, client: ClientHandle) -> None:
        pose, now = Pose.of(client.camera), time.monotonic()
        seat = self._seats.setdefault(client.client_id, Seat(pose, now - self.rates.rest))
        if pose != seat.pose:
            seat.pose, seat.since = pose, now
        moving = self.clock.playing or now - seat.since < self.rates.rest
        wanted = (pose, self.look, self.version, bool(self.overlays))
        if wanted == seat.drawn and (seat.fine or moving):
            return
        longest = max(client.camera.image_width, client.camera.image_height, 1)
        side = min(longest, seat.side if moving else self.rates.finest)
        picture = self.drawer.draw(self.look, pose.camera(side))
        depth = picture.depth if bool(self.overlays) else None
        client.scene.set_background_image(picture.image, format="jpeg", jpeg_quality=75 if moving else 92, depth=depth)
        seat.drawn, seat.fine = wanted, not moving
        if moving:
            factor = min(1.25, max(0.7, (self.rates.target / max(time.monotonic() - now, 1e-4)) ** 0.5))
            seat.side = round(min(self.rates.most_coarse, max(self.rates.coarsest, seat.side * factor)))

    def _look_from_first_camera(self) -> None:
        pose, focus = first_pose(self.scene, self.capture)
        camera = pose.camera(64)
        ahead = camera.world_to_camera[2, :3].double().numpy()
        self.reach = max(float((focus - camera.center.double().numpy()) @ ahead), 1e-3)
        self.server.scene.set_up_direction(self.scene.up)
        start = self.server.initial_camera
        start.position, start.look_at = pose.position, tuple(camera.center.double().numpy() + self.reach * ahead)
        start.fov, start.near, start.far = pose.field, self.scene.near, 1e4

    @staticmethod
    def _tell(listeners: list[Callable[[], None]]) -> None:
        for listener in listeners:
            listener()
