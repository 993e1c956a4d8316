// Which tiles each Gaussian touches (exact ellipse against rows of tiles), as lists per tile in depth order.

#include <algorithm>
#include <limits>
#include <numeric>
#include <stdexcept>

#include "footprint.h"
#include "frame.h"
#include "pool.h"
#include "spherical_harmonics.h"

namespace fourfold {
namespace {

// The blended values of one Gaussian: colour (with spherical harmonics seen from `center`), extra channels, depth.
void pack_values(const ff_gaussians& g, std::size_t row, const float center[3], float depth, float* to) {
  for (int k = 0; k < 3; ++k) to[k] = g.color[3 * row + k];
  if (g.sh_rest != nullptr) {
    float direction[3], basis[15], square = 0;
    for (int k = 0; k < 3; ++k) direction[k] = g.means[3 * row + k] - center[k], square += direction[k] * direction[k];
    const float inverse = square > 0 ? 1.f / std::sqrt(square) : 0.f;
    for (float& k : direction) k *= inverse;
    sh_basis(g.sh_terms, direction, basis);
    const float* rest = g.sh_rest + row * static_cast<std::size_t>(g.sh_terms) * 3;
    for (int j = 0; j < g.sh_terms; ++j) {
      for (int k = 0; k < 3; ++k) to[k] += basis[j] * rest[3 * j + k];
    }
    for (int k = 0; k < 3; ++k) to[k] = to[k] > 0.f ? to[k] : 0.f;
  }
  const float* channels = g.channels + row * static_cast<std::size_t>(g.channel_count);
  for (int k = 0; k < g.channel_count; ++k) to[3 + k] = channels[k];
  to[3 + g.channel_count] = depth;
}

int clamp_tile(float pixel, int tiles) {
  const float tile = std::floor(pixel * (1.f / kTile));
  return static_cast<int>(smaller(larger(tile, -1.f), static_cast<float>(tiles)));
}

struct Row {
  int first, last;  // tiles touched, empty when first > last
};

// Tiles of row `ty` under the ellipse. Its right border, as a function of dy, is concave with its top at dy = slope_y extent_x:
// over the row's dy it is largest at the dy nearest to that. The left border mirrors it.
Row row_span(const Splat& s, const Frame& frame, int ty) {
  const float top = static_cast<float>(ty * kTile) + 0.5f;
  const float bottom = smaller(top + (kTile - 1), static_cast<float>(frame.camera.height) - 0.5f);
  const float low = larger(top - s.y, -s.extent_y), high = smaller(bottom - s.y, s.extent_y);
  if (!(low <= high)) return {0, -1};
  const float best = s.slope_y * s.extent_x;
  const auto border = [&](float wanted, float sign) {
    const float dy = smaller(larger(wanted, low), high), ratio = dy / s.extent_y;
    return s.x + s.slope_x * dy + sign * s.chord_x * std::sqrt(larger(1.f - ratio * ratio, 0.f));
  };
  const float slack = 1e-3f + 1e-6f * s.extent_x;  // rounding of the border itself
  const float left = std::ceil(border(-best, -1.f) - 0.5f - slack), right = std::floor(border(best, 1.f) - 0.5f + slack);
  const float last_pixel = static_cast<float>(frame.camera.width - 1);
  if (!(left <= right) || right < 0.f || left > last_pixel) return {0, -1};
  return {std::max(0, clamp_tile(left, frame.tiles_x)), std::min(frame.tiles_x - 1, clamp_tile(right, frame.tiles_x))};
}

struct Part {
  std::size_t begin, end;
};

// Ranks [begin, end): pack splat and values, remember the spans as (ty, x0, x1) and count per tile. first_slot[rank] gets the number
// of tiles of the rank, to be summed later.
void count_part(Frame& frame, const ff_gaussians& g, Part part, const float center[3], std::vector<std::int32_t>& spans, std::int32_t* counts) {
  std::memset(counts, 0, static_cast<std::size_t>(frame.tiles()) * sizeof *counts);
  spans.clear();
  const std::size_t channels = static_cast<std::size_t>(frame.channels);
  for (std::size_t rank = part.begin; rank < part.end; ++rank) {
    const std::size_t row = static_cast<std::uint32_t>(frame.keys[rank]);
    if (rank + 8 < part.end) __builtin_prefetch(&frame.unsorted[static_cast<std::uint32_t>(frame.keys[rank + 8])]);
    const Splat s = frame.unsorted[row];
    frame.row[rank] = static_cast<std::int32_t>(row);
    frame.splats[rank] = s;
    pack_values(g, row, center, s.depth, &frame.values[rank * channels]);
    const int first = std::max(0, clamp_tile(s.y - s.extent_y - 0.5f, frame.tiles_y));
    const int last = std::min(frame.tiles_y - 1, clamp_tile(s.y + s.extent_y - 0.5f, frame.tiles_y));
    std::int32_t touched = 0;
    for (int ty = first; ty <= last; ++ty) {
      const Row span = row_span(s, frame, ty);
      if (span.first > span.last) continue;
      spans.insert(spans.end(), {ty * frame.tiles_x + span.first, ty * frame.tiles_x + span.last});
      touched += span.last - span.first + 1;
      for (int tx = span.first; tx <= span.last; ++tx) ++counts[ty * frame.tiles_x + tx];
    }
    frame.first_slot[rank] = touched;
  }
}

void fill_part(Frame& frame, Part part, const std::vector<std::int32_t>& spans, std::int32_t* place) {
  const std::int32_t* span = spans.data();
  for (std::size_t rank = part.begin; rank < part.end; ++rank) {
    const std::int32_t end = frame.first_slot[rank + 1];
    for (std::int32_t slot = frame.first_slot[rank]; slot < end; span += 2) {
      for (int tile = span[0]; tile <= span[1]; ++tile, ++slot) {
        const std::size_t at = static_cast<std::size_t>(place[tile]++);
        frame.tile_rank[at] = static_cast<std::int32_t>(rank);
        frame.tile_slot[at] = slot;
      }
    }
  }
}

// Largest tile first, so that no thread is left with a long one at the end.
void order_tiles(Frame& frame) {
  const int tiles = frame.tiles();
  std::int32_t* order = frame.tile_order.resize(static_cast<std::size_t>(tiles));
  for (int t = 0; t < tiles; ++t) order[t] = t;
  const std::int32_t* begin = frame.tile_begin.data();
  std::sort(order, order + tiles, [&](int a, int b) {
    const std::int32_t size_a = begin[a + 1] - begin[a], size_b = begin[b + 1] - begin[b];
    return size_a != size_b ? size_a > size_b : a < b;
  });
}

}  // namespace

void bin_into_tiles(Frame& frame, const ff_gaussians& g) {
  const std::size_t visible = static_cast<std::size_t>(frame.visible), tiles = static_cast<std::size_t>(frame.tiles());
  frame.row.resize(visible);
  frame.splats.resize(visible);
  frame.values.resize(visible * static_cast<std::size_t>(frame.channels));
  frame.first_slot.resize(visible + 1);
  float center[3];
  View(frame.camera).center(center);

  const std::size_t parts = visible < 512 ? 1 : static_cast<std::size_t>(thread_count()) * 2, size = (visible + parts - 1) / parts;
  frame.tile_counts.resize(parts * tiles);
  if (frame.spans.size() < parts) frame.spans.resize(parts);
  std::memset(frame.tile_counts.data(), 0, parts * tiles * sizeof(std::int32_t));
  const auto part_of = [&](int p) {
    const std::size_t begin = std::min(visible, static_cast<std::size_t>(p) * size);
    return Part{begin, std::min(visible, begin + size)};
  };
  const int count = static_cast<int>(parts);
  parallel_for(count, [&](int p) {
    const std::size_t at = static_cast<std::size_t>(p);
    count_part(frame, g, part_of(p), center, frame.spans[at], &frame.tile_counts[at * tiles]);
  });

  const std::int64_t total = std::accumulate(frame.tile_counts.data(), frame.tile_counts.data() + parts * tiles, std::int64_t{0});
  if (total > std::numeric_limits<std::int32_t>::max()) throw std::length_error("more intersections than a list can hold");
  std::int32_t sum = 0;
  frame.tile_begin.resize(tiles + 1);
  for (std::size_t t = 0; t < tiles; ++t) {
    frame.tile_begin[t] = sum;
    for (std::size_t p = 0; p < parts; ++p) {
      const std::int32_t here = frame.tile_counts[p * tiles + t];
      frame.tile_counts[p * tiles + t] = sum;
      sum += here;
    }
  }
  frame.tile_begin[tiles] = sum;
  std::int32_t slot = 0;
  for (std::size_t rank = 0; rank < visible; ++rank) {
    const std::int32_t here = frame.first_slot[rank];
    frame.first_slot[rank] = slot;
    slot += here;
  }
  frame.first_slot[visible] = slot;

  frame.tile_rank.resize(static_cast<std::size_t>(sum));
  frame.tile_slot.resize(static_cast<std::size_t>(sum));
  parallel_for(count, [&](int p) {
    const std::size_t at = static_cast<std::size_t>(p);
    fill_part(frame, part_of(p), frame.spans[at], &frame.tile_counts[at * tiles]);
  });
  order_tiles(frame);
}

}  // namespace fourfold
