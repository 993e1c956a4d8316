"""priors/foundation."""
