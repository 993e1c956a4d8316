"""What was filmed: captures, readers of every layout, video decoding, synchronisation, undistortion."""

from fourfold.capture.capture import Capture
from fourfold.capture.ingest import capture_key, prepare_capture
from fourfold.capture.source import CaptureOptions

__all__ = ["Capture", "CaptureOptions", "capture_key", "prepare_capture"]
