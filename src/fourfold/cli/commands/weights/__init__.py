"""Learned weights: which exist, where they lie, and the only command that downloads any."""
