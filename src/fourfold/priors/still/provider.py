"""Who provides masks by explanation, and the static scene behind masks that come from elsewhere."""

from __future__ import annotations

import numpy as np

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Cameras, LongTracks, Masks, Priors, Still
from fourfold.priors.masks.plate_masks import plate_masks, travels
from fourfold.priors.providers import Provider
from fourfold.priors.still.explained import masks_and_still, still_behind


def classical_masks(capture: Capture, longtracks: LongTracks, cameras: Cameras) -> Masks:
    """What moves, without learned weights: by a static scene where a camera travels, by a plate for each view where none does."""
    if _travelling(capture) is None:
        return masks_and_still(capture, longtracks, cameras)[0]
    return plate_masks(capture, longtracks, cameras)


def _travelling(capture: Capture) -> str | None:
    """Masks that the capture brought for what is trained on are kept as they are; cameras that do not travel need no scene with depth."""
    trained = np.flatnonzero(capture.train.any(axis=1))
    given = any(capture.has("masks", int(view)) for view in trained)
    return None if not given and any(travels(capture, int(view)) for view in trained) else ""


def _explain(capture: Capture, priors: Priors) -> list[Masks | Still]:
    return list(masks_and_still(capture, priors.require(LongTracks), priors.require(Cameras)))


def _behind(capture: Capture, priors: Priors) -> list[Still]:
    return [still_behind(capture, priors.require(LongTracks), priors.require(Cameras), priors.require(Masks))]


PROVIDERS = (
    Provider("explained", ("masks", "still"), ("longtracks", "cameras"), 20, _travelling, _explain),
    Provider("still_behind", ("still",), ("masks", "longtracks", "cameras"), 6, lambda _: None, _behind),
)
