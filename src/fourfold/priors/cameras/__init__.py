"""Where the cameras were.

Read in this order: `spread_tracks` (who votes), `bundle_system` and `track_bundle` (the one model), `turned_start`, `travelled_start` and
`grown_start` (where it begins), `camera_score` (which answer is best), `camera_search` (all together), `film_cameras` (the prior and what is said),
`joined_views` and `joined_cameras` (several), `long_cameras` (long films), `photo_cameras` (photos), `estimated` (which of these serves).
"""
