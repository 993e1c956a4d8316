"""3D tracks that all cameras agree on: matches between cameras, followed through time, filtered and triangulated.

Source: spec sparse_dynamic_cameras.md section 2. `linking` joins matches, `follow` tracks their ends, `consistent` filters and triangulates,
`provider` puts them together.
"""
