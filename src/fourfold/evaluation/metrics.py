"""Image metrics: each a function of float images in [0, 1], with its formula and where it comes from."""

from __future__ import annotations

from fourfold.evaluation.image_metrics.boxes import crop, mask_box, on_colour
from fourfold.evaluation.image_metrics.flip import flip, flip_map
from fourfold.evaluation.image_metrics.masked import masked_distance, masked_ssim, masked_ssim_map
from fourfold.evaluation.image_metrics.pixels import Image, mask_iou, mean_of, psnr, rounded
from fourfold.evaluation.image_metrics.similarity import FORMS, ms_ssim, ssim, ssim_map
from fourfold.evaluation.image_metrics.temporal import flicker, pck_t

__all__ = [
    "FORMS",
    "Image",
    "crop",
    "flicker",
    "flip",
    "flip_map",
    "mask_box",
    "mask_iou",
    "masked_distance",
    "masked_ssim",
    "masked_ssim_map",
    "mean_of",
    "ms_ssim",
    "on_colour",
    "pck_t",
    "psnr",
    "rounded",
    "ssim",
    "ssim_map",
]
