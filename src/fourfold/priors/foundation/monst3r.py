"""MonST3R, the network of DUSt3R for moving scenes: see `foundation.dust3r`, which runs it."""

from fourfold.priors.foundation.dust3r import pointmap_provider

PROVIDERS = (pointmap_provider("monst3r", 30),)
