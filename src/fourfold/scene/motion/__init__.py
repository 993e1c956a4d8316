"""scene/motion."""
