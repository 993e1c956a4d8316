"""`RECIPE/as_published`: the eight systems with the numbers that their papers and released programs state. Data.

They are meant for `--quality full` on a GPU: as many steps, images a step and Gaussians as published, no bound on the images' size. Where a
paper does not state a number the released program's is taken, and where neither does the recipe's own; each file says which.
What the laptop recipes add of their own (residual Gaussians, camera colours, weights of moving pixels) is not in them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fourfold.recipes.published import monofusion, rigs, scaffolds, shared_bases, trees
from fourfold.recipes.recipe import Recipe

AS_PUBLISHED: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        shared_bases.SHAPE_OF_MOTION,
        trees.HIMOR,
        trees.FOURDGS360,
        scaffolds.MOSCA,
        scaffolds.SPARSE_DYNAMIC,
        monofusion.MONOFUSION,
        rigs.FREETIMEGS,
        rigs.SHARPTIMEGS,
    )
}
"""Name of the recipe -> the recipe as published."""
