"""Cameras from what was followed: evenly spread long tracks, starts, one bundle, one score; photos by mapping."""
