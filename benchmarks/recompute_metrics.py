"""Recompute a run's PSNR and SSIM from the pictures it kept, with nothing of fourfold: python benchmarks/recompute_metrics.py RUN."""

import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def main(run: Path) -> float:
    """Print reported and recomputed means; returns the largest difference."""
    kept, found = run / "renders" / "heldout", {"psnr": [], "ssim": [], "psnr_dynamic": [], "psnr_static": []}
    for file in sorted(kept.glob("*.png")):
        image, truth = (np.asarray(Image.open(f), np.float64) / 255 for f in (file, kept / "truth" / file.name))
        found["psnr"].append(peak_signal_noise_ratio(truth, image, data_range=1))
        wang = structural_similarity(image, truth, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
        found["ssim"].append(wang)
        mask = kept / "masks" / file.name
        if mask.exists():
            moving = np.asarray(Image.open(mask)) > 0
            for name, chosen in (("psnr_dynamic", moving), ("psnr_static", ~moving)):
                if chosen.any():
                    found[name].append(-10 * np.log10(((image - truth) ** 2)[chosen].mean()))
    reported = json.loads((run / "report.json").read_text())["metrics"]["heldout"]
    rows = {k: (reported[k], float(np.mean(v))) for k, v in found.items() if v and reported[k] is not None}
    for name, (theirs, ours) in rows.items():
        print(f"{name:<13} reported {theirs:.6f}  recomputed {ours:.6f}  difference {abs(theirs - ours):.2e}")
    return max(abs(theirs - ours) for theirs, ours in rows.values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])) > 1e-4)
