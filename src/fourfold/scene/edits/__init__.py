"""Edits of a finished scene: each a function from a scene to a scene."""
