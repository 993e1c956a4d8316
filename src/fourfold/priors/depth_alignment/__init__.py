"""Depth that agrees over time and between cameras: two kinds of estimate, one scale per camera (spec monofusion.md section 2)."""
