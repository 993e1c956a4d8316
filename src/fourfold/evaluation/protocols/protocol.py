"""What a protocol is. Nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fourfold.capture.holdout import TRAINED

Region = Literal["full", "dynamic", "static", "foreground", "covisible", "box"]
Covisibility = Literal["none", "flow", "depth"]
MaskSource = Literal["given", "own"]
"""Masks that came with the data set, which published figures used, or that were estimated here."""
RULES = ("every", "moments", "cameras", "standing", "none")
"""First words of the rules of `--holdout`; a capture that tells anything else was split by its data set."""
Background = Literal["as filmed", "white", "black"]


@dataclass(frozen=True)
class Measure:
    """One figure of a protocol.

    Attributes:
        key: its name in reports, for example "psnr_dynamic".
        metric: "psnr", "ssim", "ms_ssim", "lpips", "flip", "mask_iou" (of a frame), "clip_i", "clip_t", "flicker" or "novel_time".
        form: which variant of the metric; figures of different forms are never compared.
        region: the pixels that count; "full" is all of them, "box" the true foreground's enlarged bounds.
    """

    key: str
    metric: str
    form: str = ""
    region: Region = "full"

    @property
    def variant(self) -> str:
        """Metric, form and region in one word: two figures can be compared if this is the same."""
        return ":".join(part for part in (self.metric, self.form, self.region) if part)

    def variant_with(self, masks: MaskSource) -> str:
        """`variant`, and where its masks come from: under other masks a figure is another one."""
        return self.variant if self.region == "full" else f"{self.variant}, {masks} masks"


@dataclass(frozen=True)
class Protocol:
    """How one benchmark measures.

    Attributes:
        name: what `--protocol` calls it.
        title, source: what it is, and where its rules were read.
        split: in words: which images train and which test.
        holdouts: the `--holdout` rules that make the split, one run each, whose figures are averaged; None where the data set brings its own.
        size: width and height at which images are compared; None for the size of the capture.
        measures: the figures.
        colour_space: in which values are compared.
        background: what is behind captures with an opacity, or behind the foreground in a foreground-only protocol.
        foreground_only: only the moving layers are rendered, and the truth is masked.
        covisibility: how co-visible pixels are found.
        dynamic_is_covisible: what moves counts as co-visible everywhere (HiMoR, LetCamsGo).
        flow_threshold: a pixel is also dynamic where the flow of the test camera exceeds this many pixels at 960 pixels of width; 0: masks alone.
        without_cameramen: leave out who films.
        skip_trained: leave out test images that are also trained on.
        on_training: the training images are what is measured.
        turned: degrees by which the training cameras are turned about what they look at, to be drawn without truth; 0: as filmed.
        depth_by_rule: co-visibility is computed, by everybody, from the depth that came with the data.
        keypoints: points that people followed are scored too, where they came with the data.
        remarks: what to know when comparing.
    """

    name: str
    title: str
    source: str
    split: str
    measures: tuple[Measure, ...]
    holdouts: tuple[str | None, ...] = (None,)
    size: tuple[int, int] | None = None
    colour_space: str = "sRGB, rounded to 8 bit"
    background: Background = "as filmed"
    foreground_only: bool = False
    covisibility: Covisibility = "none"
    dynamic_is_covisible: bool = False
    flow_threshold: float = 0.0
    without_cameramen: bool = False
    skip_trained: bool = False
    on_training: bool = False
    turned: float = 0.0
    depth_by_rule: bool = False
    keypoints: bool = False
    remarks: tuple[str, ...] = ()

    def split_told(self, rule: str | None) -> str:
        """What a figure's variant must say of the split of a run that was made with the hold-out rule `rule`: nothing if it is the protocol's.

        Args:
            rule: as the capture tells it; None where it tells none (a capture that no rule has split).
        """
        own = rule is None or (TRAINED not in rule and rule.partition(":")[0] not in RULES)
        return "" if (own and None in self.holdouts) or rule in self.holdouts else f", split {rule or 'of the capture'}"

    def variant(self, key: str) -> str | None:
        """The variant of the figure `key` under the data set's own masks, None if the protocol has no such figure."""
        return next((m.variant_with("given") for m in self.measures if m.key == key), None)
