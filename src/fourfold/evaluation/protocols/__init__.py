"""Evaluation protocols as data: which frames, at which size, under which masks, in which forms of the metrics."""
