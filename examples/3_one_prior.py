"""One prior alone: read a video and estimate its optical flow, without any reconstruction.

python examples/3_one_prior.py out [video.mp4]
"""

import sys
from pathlib import Path

import numpy as np

from fourfold.capture import prepare_capture
from fourfold.capture.synthetic import SyntheticOptions, generate
from fourfold.export.video import write_png
from fourfold.priors.pictures import flow_picture
from fourfold.priors.tracking.flow import estimate_flow


def main(out: Path, video: Path | None = None) -> float:
    """Write `flow.png` (hue is direction, brightness is speed); returns the median confident speed in pixels per frame."""
    if video is None:
        generate("casual", out / "clip", options=SyntheticOptions(frames=4, width=96, height=64, supersample=1))
        video = out / "clip" / "video.mp4"
    capture = prepare_capture([video], out / "capture", pixels=45_000)  # decoded once; read lazily from disk afterwards
    flow = estimate_flow(capture)
    forward, confidence = flow.forward[0][0], flow.forward_confidence[0][0]
    write_png(out / "flow.png", np.concatenate([capture.image(0, 0), flow_picture(forward)], axis=1))
    speed = float(np.median(np.linalg.norm(forward.astype(np.float32), axis=-1)[confidence > 0.5]))
    print(f"{capture.times} frames, {(confidence > 0.5).mean():.0%} of the first one's flow is confident, median {speed:.2f} pixels per frame")
    return speed


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out"), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
