"""What can be followed: long tracks, 2D tracks, optical flow, matches between cameras, and lifting with depth."""
