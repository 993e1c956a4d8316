"""Measure speed and quality against peers, in one run on this machine."""
