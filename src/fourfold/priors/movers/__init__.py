"""Movers of one camera: bodies in their own units, their size against the world, their tracks in space."""
