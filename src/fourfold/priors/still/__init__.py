"""What stands still, as Gaussians fitted to all frames, and what moves by what they leave unexplained.

Read in this order: `frames`, `start` (from resting tracks), `fit`, `evidence`, `shadows`, `gains` (exposure), `explained` (all together), `provider`.
"""
