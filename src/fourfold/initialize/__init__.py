"""initialize."""
