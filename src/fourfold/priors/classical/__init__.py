"""priors/classical."""
