"""Movers whose masks are one for a while are told apart by their tracks."""

from __future__ import annotations

import cv2
import numpy as np

from fourfold.priors.movers.mover_regions import movers_of
from fourfold.priors.movers.touching_movers import split_touching


def _crossing() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A tall body, and a ball that passes before its legs from frame 4 to 8: masks, each one's own pixels, tracks and where they are visible."""
    frames = 13
    tall, ball = np.zeros((frames, 60, 160), bool), np.zeros((frames, 60, 160), bool)
    tall[:, 10:50, 70:86] = True
    row, column = np.mgrid[:60, :160]
    for frame in range(frames):
        ball[frame] = (row - 44) ** 2 + (column - 30 - 8 * frame) ** 2 < 64
    on_tall = np.stack(np.meshgrid(np.arange(71.5, 86, 3), np.arange(11.5, 50, 3)), axis=-1).reshape(-1, 2)
    on_ball = np.stack(np.meshgrid(np.arange(-5.5, 6, 3), np.arange(-5.5, 6, 3)), axis=-1).reshape(-1, 2)
    moving = on_ball[:, None] + np.stack([30.5 + 8 * np.arange(frames), np.full(frames, 44.5)], axis=1)[None]
    xy = np.concatenate([np.tile(on_tall[:, None], (1, frames, 1)), moving]).astype(np.float32)
    at = np.arange(frames)[None], xy[..., 1].astype(int), xy[..., 0].astype(int)
    visible = np.concatenate([~ball[at][: len(on_tall)], np.ones((len(on_ball), frames), bool)])
    return tall | ball, tall & ~ball, ball, xy, visible


def test_a_ball_that_passes_before_a_body_stays_a_mover_of_its_own() -> None:
    masks, tall, ball, xy, visible = _crossing()
    movers = movers_of(masks)
    missed = [mover for mover in movers if not mover.any(axis=(1, 2)).all()]
    assert len(movers) == 2 and missed
    found = split_touching(masks, movers, xy, visible)
    for mover, true, other in zip(found, (tall, ball), (ball, tall), strict=True):
        for frame in range(len(masks)):
            beside = cv2.distanceTransform((~other[frame]).astype(np.uint8), cv2.DIST_L2, 5) <= 4  # tracks are 3 px apart
            assert not ((mover[frame] != true[frame]) & true[frame] & ~beside).any()
            assert mover[frame].any()
    assert not (found[0] & found[1]).any() and ((found[0] | found[1]) == masks).all()


def test_a_body_that_left_the_picture_is_not_looked_for() -> None:
    masks, tall, ball, xy, visible = _crossing()
    masks = tall.copy()
    masks[:5] |= ball[:5]
    visible = visible & masks[np.arange(13)[None], xy[..., 1].astype(int), xy[..., 0].astype(int)]
    parts = [tall, ball & (np.arange(13) < 3)[:, None, None]]
    found = split_touching(masks, parts, xy, visible)
    assert not found[1][6:].any()
    assert (found[0][6:] == tall[6:]).all()
    assert split_touching(masks, parts[:1], xy, visible)[0] is parts[0]
