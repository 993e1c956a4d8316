"""Who provides masks by explanation, and the static scene behind masks that come from elsewhere."""

from __future__ import annotations

from fourfold.capture.capture import Capture
from fourfold.priors.contracts import Masks, Priors, Still
from fourfold.priors.providers import Provider
from fourfold.priors.still.explained import masks_and_still, still_behind


def _without_masks(capture: Capture) -> str | None:
    """Masks that the capture brought are kept as they are."""
    return "" if any(capture.has("masks", view) for view in range(capture.views)) else None


def _explain(capture: Capture, priors: Priors) -> list[Masks | Still]:
    assert priors.longtracks is not None and priors.cameras is not None
    return list(masks_and_still(capture, priors.longtracks, priors.cameras))


def _behind(capture: Capture, priors: Priors) -> list[Still]:
    assert priors.longtracks is not None and priors.cameras is not None and priors.masks is not None
    return [still_behind(capture, priors.longtracks, priors.cameras, priors.masks)]


PROVIDERS = (
    Provider("explained", ("masks", "still"), ("longtracks", "cameras"), 20, _without_masks, _explain),
    Provider("still_behind", ("still",), ("masks", "longtracks", "cameras"), 6, lambda _: None, _behind),
)
