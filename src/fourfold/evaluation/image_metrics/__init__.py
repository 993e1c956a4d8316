"""Image metrics, one file per family; `fourfold.evaluation.metrics` offers them all."""
