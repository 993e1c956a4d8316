"""What several cameras see at one moment, or one camera that jumps around an object alone.

`hull` carves masks, `hull_repair` mends them across cameras, `hull_clouds` makes coloured points with velocities, `shared_hulls` joins neighbouring
moments; `depth_clouds` are points from depth where there are no hulls.
"""
