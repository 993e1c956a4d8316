"""The greedy cover: by hand, and the compiled one against its twin."""

from __future__ import annotations

import numpy as np
import pytest

from fourfold.kernels.cover import cover, cover_reference


@pytest.mark.parametrize("of", [cover, cover_reference])
def test_a_group_is_kept_where_enough_of_its_cells_are_open(of):
    first, cells = np.array([0, 2, 4, 6, 6]), np.array([0, 1, 1, 2, 2, 3])
    order = np.array([1, 0, 2, 3])
    assert of(order, first, cells, 1, 0.5, False).tolist() == [True, True, True, True]  # half is open, and all of nothing
    assert of(order, first, cells, 1, 0.5, True).tolist() == [False, True, False, False]
    assert of(order, first, cells, 2, 0.5, True).tolist() == [True, True, True, False]
    assert of(order[:1], first, cells, 2, 0.5, True).tolist() == [False, True, False, False]


@pytest.mark.parametrize(("per", "share", "strictly"), [(1, 0.5, False), (3, 0.5, True), (2, 0.25, False)])
def test_the_kernel_keeps_what_its_twin_keeps(each_isa, per, share, strictly):
    random = np.random.default_rng(per)
    groups = [random.choice(200, random.integers(0, 12), replace=False) for _ in range(400)]
    first, cells = np.concatenate([[0], np.cumsum([len(g) for g in groups])]), np.concatenate(groups).astype(np.int64)
    order = random.permutation(400)[:350]
    kept = cover(order, first, cells, per, share, strictly)
    np.testing.assert_array_equal(kept, cover_reference(order, first, cells, per, share, strictly))
    assert 0 < kept.sum() < 350
