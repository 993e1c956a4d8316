"""Priors that the user supplies as files in public layouts: one reader per layout."""
