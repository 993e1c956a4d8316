"""What moves.

`static_points` (the best point at rest for each track), `track_evidence` (how badly it fits) and `track_vote` (what that says of pixels) suspect;
`plate_frames`, `plate`, `plate_fill` and `plate_masks` explain what cameras see that stand or turn (`priors/still` does for those that travel);
`cut` draws outlines.
"""
