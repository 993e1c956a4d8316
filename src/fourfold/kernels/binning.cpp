// The lists of Gaussians of each tile, in depth order: a stable counting sort of the spans that the projection found.

#include <algorithm>

#include "frame.h"
#include "pool.h"

namespace fourfold {
namespace {

struct Part {
  std::size_t begin, end;  // of the sorted keys
};

// Calls visit(tile, row, slot) for every tile of the Gaussians of a part, front to back.
template <class F>
void for_tiles(const Frame& frame, Part part, F&& visit) {
  constexpr std::size_t ahead = 16;
  for (std::size_t i = part.begin; i < part.end; ++i) {
    if (i + ahead < part.end) {
      const std::size_t later = row_of(frame.keys[i + ahead]);
      __builtin_prefetch(&frame.first_slot[later]);
      __builtin_prefetch(&frame.first_span[later]);
    }
    const std::size_t row = row_of(frame.keys[i]);
    const Span* span = frame.spans[row / kProjectChunk].data() + frame.first_span[row];
    const std::int32_t end = frame.first_slot[row + 1];
    for (std::int32_t slot = frame.first_slot[row]; slot < end; ++span) {
      for (std::int32_t tile = span->first; tile <= span->last; ++tile, ++slot) visit(static_cast<std::size_t>(tile), row, slot);
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

void bin_into_tiles(Frame& frame) {
  const std::size_t visible = static_cast<std::size_t>(frame.visible), tiles = static_cast<std::size_t>(frame.tiles());
  const std::size_t parts = visible < 512 ? 1 : static_cast<std::size_t>(thread_count()) * 2, size = (visible + parts - 1) / parts;
  frame.tile_counts.resize(parts * tiles);
  std::memset(frame.tile_counts.data(), 0, parts * tiles * sizeof(std::int32_t));
  const auto part_of = [&](int p) {
    const std::size_t begin = std::min(visible, static_cast<std::size_t>(p) * size);
    return Part{begin, std::min(visible, begin + size)};
  };
  const int count = static_cast<int>(parts);
  parallel_for(count, [&](int p) {
    std::int32_t* counts = &frame.tile_counts[static_cast<std::size_t>(p) * tiles];
    for_tiles(frame, part_of(p), [&](std::size_t tile, std::size_t, std::int32_t) { ++counts[tile]; });
  });

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

  frame.tile_row.resize(static_cast<std::size_t>(sum));
  frame.tile_slot.resize(static_cast<std::size_t>(sum));
  parallel_for(count, [&](int p) {
    std::int32_t* place = &frame.tile_counts[static_cast<std::size_t>(p) * tiles];
    for_tiles(frame, part_of(p), [&](std::size_t tile, std::size_t row, std::int32_t slot) {
      const std::size_t at = static_cast<std::size_t>(place[tile]++);
      frame.tile_row[at] = static_cast<std::int32_t>(row);
      frame.tile_slot[at] = slot;
    });
  });
  order_tiles(frame);
}

}  // namespace fourfold
