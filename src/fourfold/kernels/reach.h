// Which blocks of a tile the Gaussians of a batch can reach, kLanes Gaussians at once.
#pragma once

#include "tile.h"

namespace fourfold {

constexpr int kBatch = 64;            // entries of a tile's list that are drawn together
using EntrySet = std::uint64_t;       // bit i: entry i of the batch
static_assert(kBatch == 64, "a batch fits a word");

// Fields of kLanes splats as vectors; lanes beyond n get an extent below zero, which reaches nothing.
struct Outline {
  vfloat x, y, extent_x, extent_y, slope_y, chord_y;

  Outline(const Splat* splats, int n) {
    alignas(64) float lanes[6][kLanes];
    for (int i = 0; i < kLanes; ++i) {
      const Splat& s = splats[i < n ? i : 0];
      lanes[0][i] = s.x, lanes[1][i] = s.y, lanes[2][i] = i < n ? s.extent_x : -1.f, lanes[3][i] = s.extent_y;
      lanes[4][i] = s.slope_y, lanes[5][i] = s.chord_y;
    }
    x = load(lanes[0]), y = load(lanes[1]), extent_x = load(lanes[2]), extent_y = load(lanes[3]);
    slope_y = load(lanes[4]), chord_y = load(lanes[5]);
  }
};

// Whether an integer lies in [first, last].
inline mask holds_pixel(vfloat first, vfloat last) { return at_least(round_down(last), first); }

// Fills reach[block] for n <= kBatch splats of a tile. Within a column of blocks the ellipse lies inside the parallelogram
// slope_y dx +- chord_y, cut by the bounding box.
inline void find_reach(const TileView& tile, const Splat* splats, int n, EntrySet reach[kBlocks]) {
  std::memset(reach, 0, kBlocks * sizeof *reach);
  for (int base = 0; base < n; base += kLanes) {
    const Outline o(splats + base, n - base);
    const vfloat x = o.x - (static_cast<float>(tile.left) + 0.5f), y = o.y - (static_cast<float>(tile.top) + 0.5f);
    const vfloat first_x = maximum(x - o.extent_x, vfloat{}), last_x = minimum(x + o.extent_x, splat(static_cast<float>(tile.width - 1)));
    const mask wide = holds_pixel(first_x, last_x);
    for (int column = 0; column < kBlockColumns; ++column) {
      const float begin = static_cast<float>(column * kBlockWidth), end = begin + static_cast<float>(kBlockWidth - 1);
      const vfloat left = maximum(begin - x, vfloat{} - o.extent_x), right = minimum(end - x, o.extent_x);
      const vfloat at_left = o.slope_y * left, at_right = o.slope_y * right;
      const vfloat low = maximum(minimum(at_left, at_right) - o.chord_y, vfloat{} - o.extent_y);
      const vfloat high = minimum(maximum(at_left, at_right) + o.chord_y, o.extent_y);
      const vfloat first = maximum(y + low, vfloat{}), last = minimum(y + high, splat(static_cast<float>(tile.height - 1)));
      const mask here = wide & at_least(splat(end), first_x) & at_least(last_x, splat(begin)) & holds_pixel(first, last);
      for (int row = 0; row < kBlockRows; ++row) {
        const float top = static_cast<float>(row * kBlockHeight), bottom = top + static_cast<float>(kBlockHeight - 1);
        const mask touched = here & at_least(splat(bottom), first) & at_least(last, splat(top));
        reach[column * kBlockRows + row] |= static_cast<EntrySet>(bits(touched)) << base;
      }
    }
  }
}

}  // namespace fourfold
