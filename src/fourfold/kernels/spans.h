// Which tiles a Gaussian touches: the exact ellipse against rows of tiles, kLanes rows at once.
#pragma once

#include <algorithm>
#include <vector>

#include "frame.h"

namespace fourfold {

inline int clamp_tile(float pixel, int tiles) {
  const float tile = std::floor(pixel * (1.f / kTile));
  return static_cast<int>(smaller(larger(tile, -1.f), static_cast<float>(tiles)));
}

// The right border of an ellipse, as a function of dy, is concave with its top at dy = slope_y extent_x: over a row's dy it is largest
// at the dy nearest to that. The left border mirrors it.
class TileRows {
 public:
  TileRows(const Frame& frame, const Splat& s)
      : s_(s), tiles_x_(frame.tiles_x), width_(frame.camera.width), height_(frame.camera.height), inverse_y_(1.f / s.extent_y), best_(s.slope_y * s.extent_x) {
    first_ = std::max(0, clamp_tile(s.y - s.extent_y - 0.5f, frame.tiles_y));
    last_ = std::min(frame.tiles_y - 1, clamp_tile(s.y + s.extent_y - 0.5f, frame.tiles_y));
  }

  // Appends the spans of tiles and returns how many tiles they hold.
  std::int32_t append(std::vector<Span>& spans) const {
    std::int32_t touched = 0;
    for (int row = first_; row <= last_; row += kLanes) {
      alignas(64) float left[kLanes], right[kLanes];
      borders(row, left, right);
      for (int i = 0; i < std::min(kLanes, last_ - row + 1); ++i) {
        if (!(left[i] <= right[i])) continue;
        const std::int32_t begin = (row + i) * tiles_x_, from = static_cast<std::int32_t>(left[i]), to = static_cast<std::int32_t>(right[i]);
        spans.push_back({begin + from, begin + to});
        touched += to - from + 1;
      }
    }
    return touched;
  }

 private:
  vfloat border(vfloat low, vfloat high, float wanted, float sign) const {
    const vfloat dy = minimum(maximum(splat(wanted), low), high), ratio = dy * inverse_y_;
    return s_.x + s_.slope_x * dy + sign * s_.chord_x * square_root(maximum(1.f - ratio * ratio, vfloat{}));
  }

  // First and last tile of kLanes rows of tiles; last < first where nothing is touched.
  void borders(int row, float* first, float* last) const {
    vfloat top{};
    for (int i = 0; i < kLanes; ++i) top[i] = static_cast<float>((row + i) * kTile) + 0.5f;
    const vfloat bottom = minimum(top + static_cast<float>(kTile - 1), splat(static_cast<float>(height_) - 0.5f));
    const vfloat low = maximum(top - s_.y, splat(-s_.extent_y)), high = minimum(bottom - s_.y, splat(s_.extent_y));
    const float slack = 1e-3f + 1e-6f * s_.extent_x;  // rounding of the border itself
    const vfloat left = vfloat{} - round_down(0.5f + slack - border(low, high, -best_, -1.f));
    const vfloat right = round_down(border(low, high, best_, 1.f) - 0.5f + slack);
    const mask some = at_least(high, low) & at_least(right, left) & at_least(right, vfloat{}) & at_least(splat(static_cast<float>(width_ - 1)), left);
    store(first, maximum(round_down(left * (1.f / kTile)), vfloat{}));
    store(last, select(some, minimum(round_down(right * (1.f / kTile)), splat(static_cast<float>(tiles_x_ - 1))), splat(-1.f)));
  }

  const Splat& s_;
  int tiles_x_, width_, height_, first_, last_;
  float inverse_y_, best_;
};

}  // namespace fourfold
