"""Clouds and depth of what several cameras see at once, from hulls of masks."""
