"""capture/readers."""
