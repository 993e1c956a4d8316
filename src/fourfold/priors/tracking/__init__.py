"""What can be followed through images.

Read in this order: `long_tracks` (with `track_anchor`, which says where exactly, and `long_track_links`, which finds again what was hidden) follows
whatever can be followed and serves cameras and masks; `long_track_sightings` finds those points in other images. `tracks` (`track_follow`,
`track_template`, `track_local`) follows dense grids on movers once masks are known; `lift` puts them into space. `flow` is dense, between
neighbours. `matches` (`sift_matches`, `grown_matches`, `matching`) joins several cameras at one moment. `track_step` is what they share.
"""
