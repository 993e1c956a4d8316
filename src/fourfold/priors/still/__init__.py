"""What stands still, explained: a robust static scene fitted to all frames, and masks of what it cannot explain."""
