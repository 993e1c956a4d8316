"""AbsGS: growth by the absolute screen gradient, which does not cancel inside one large Gaussian (Ye et al. 2024)."""

from __future__ import annotations

from dataclasses import replace

from fourfold.density.adaptive import AdaptiveControl

ABSGRAD_THRESHOLD = 8e-4
"""The absolute gradient is larger than the signed one; gsplat recommends four times the usual threshold."""


def absgrad_control(control: AdaptiveControl = AdaptiveControl()) -> AdaptiveControl:
    """`control` with the absolute gradient and its threshold."""
    return replace(control, absolute=True, threshold=ABSGRAD_THRESHOLD)
