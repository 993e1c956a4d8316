// One tile's place in the image, shared by drawing and its gradient.
#pragma once

#include <algorithm>

#include "frame.h"

namespace fourfold {

struct TileView {
  int index, left, top, width, height;  // pixels; width and height cut at the image border
  std::size_t pixels;                   // offset of this tile in the per-pixel arrays of the frame
  int begin, end;                       // entries of its list

  TileView(const Frame& frame, int index)
      : index(index),
        left(index % frame.tiles_x * kTile),
        top(index / frame.tiles_x * kTile),
        width(std::min(kTile, frame.camera.width - left)),
        height(std::min(kTile, frame.camera.height - top)),
        pixels(static_cast<std::size_t>(index) * kTilePixels),
        begin(frame.tile_begin[static_cast<std::size_t>(index)]),
        end(frame.tile_begin[static_cast<std::size_t>(index) + 1]) {}

  std::size_t pixel(const Frame& frame, int x, int y) const {
    return static_cast<std::size_t>(top + y) * static_cast<std::size_t>(frame.camera.width) + static_cast<std::size_t>(left + x);
  }
};

// Calls visit(lane, x, y) for the lanes of a block that lie inside the image, x and y relative to the tile.
template <class F>
inline void for_lanes(const TileView& tile, int block, F&& visit) {
  const int x0 = block / kBlockRows * kBlockWidth, y0 = block % kBlockRows * kBlockHeight;
  const int width = std::min(kBlockWidth, tile.width - x0), height = std::min(kBlockHeight, tile.height - y0);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) visit(y * kBlockWidth + x, x0 + x, y0 + y);
  }
}

// Calls visit(lane, pixel, width) for the rows of a block inside the image: their first lane, the pixel it is, and how many pixels there are.
template <class F>
inline void for_rows(const Frame& frame, const TileView& tile, int block, F&& visit) {
  const int x0 = block / kBlockRows * kBlockWidth, y0 = block % kBlockRows * kBlockHeight;
  const int width = std::min(kBlockWidth, tile.width - x0), height = std::min(kBlockHeight, tile.height - y0);
  if (width <= 0) return;
  for (int y = 0; y < height; ++y) visit(y * kBlockWidth, tile.pixel(frame, x0, y0 + y), width);
}

// Calls visit(i) for i in [0, width): a number that the compiler knows where the row is whole.
template <class F>
inline void for_row(int width, F&& visit) {
  if (width == kBlockWidth) {
    for (int i = 0; i < kBlockWidth; ++i) visit(i);
  } else {
    for (int i = 0; i < width; ++i) visit(i);
  }
}

// The image coordinates of a block's pixel centres.
inline vfloat block_x(const TileView& tile, int block) {
  return lane_x() + (static_cast<float>(tile.left + block / kBlockRows * kBlockWidth) + 0.5f);
}
inline vfloat block_y(const TileView& tile, int block) {
  return lane_y() + (static_cast<float>(tile.top + block % kBlockRows * kBlockHeight) + 0.5f);
}

// Asks the caches for the splat and values of a list entry that will be needed soon: rows of one tile lie far apart.
constexpr int kAhead = 6;
inline void prefetch(const Frame& frame, int entry) {
  const std::size_t row = static_cast<std::size_t>(frame.tile_row[static_cast<std::size_t>(entry)]);
  __builtin_prefetch(&frame.splats[row]);
  __builtin_prefetch(&frame.values[row * static_cast<std::size_t>(frame.channels)]);
}

// Calls run.template operator()<C>() with C the number of channels where it has code of its own, else with 0.
template <class F>
inline void with_channels(int channels, F&& run) {
  switch (channels) {
    case 3: return run(std::integral_constant<int, 3>());
    case 4: return run(std::integral_constant<int, 4>());
    case 5: return run(std::integral_constant<int, 5>());
    case 6: return run(std::integral_constant<int, 6>());
    case 7: return run(std::integral_constant<int, 7>());
    case 8: return run(std::integral_constant<int, 8>());
    case 9: return run(std::integral_constant<int, 9>());
    default: return run(std::integral_constant<int, 0>());
  }
}

}  // namespace fourfold
