"""What moves: the evidence of tracks, and plates for cameras that stand or turn."""
