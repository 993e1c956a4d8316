"""Synthetic captures with exact truth, ray-cast from textured, articulated and deforming solids in a painted room."""

from __future__ import annotations

from fourfold.capture.synthetic.generate import generate
from fourfold.capture.synthetic.kinds import KINDS
from fourfold.capture.synthetic.options import NoiseOptions, SyntheticOptions
from fourfold.capture.synthetic.truth import Truth, truth_image

__all__ = ["KINDS", "NoiseOptions", "SyntheticOptions", "Truth", "generate", "truth_image"]
