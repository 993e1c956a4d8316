"""Files that hold Gaussians of one moment, as other programs write and read them: one file per format, both directions."""
