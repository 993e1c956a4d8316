// Channels blended at single positions of a drawn image, read bilinearly between the four pixels around: what drawing them over the whole
// image and reading it there would give, forward and backward, from the lists and transmittances that drawing left.
//
// The four taps of every point are sorted by tile; a tile's taps fill vectors, a tap per lane, which walk the tile's list together. Sums over
// taps and tiles are in an order that the input fixes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include "points.h"
#include "pool.h"
#include "tile.h"

namespace fourfold {
namespace {

constexpr int kTaps = 4;

struct Tap {
  int tile, x, y;  // x, y relative to the tile
  float share;
};

// The taps of all points and, in order of tiles, the numbers of the taps.
struct Sorted {
  std::vector<Tap> taps;
  std::vector<std::int32_t> order;
  std::vector<std::int32_t> begin;  // (tiles + 1) places in `order`
  std::vector<std::int32_t> tiles;  // those with taps
};

// Pixel centres lie at +0.5; the border repeats.
inline float within(float at, int size) {
  const float last = static_cast<float>(size - 1);
  return at > 0.f ? (at < last ? at : last) : 0.f;
}

Sorted sorted_taps(const Frame& frame, const ff_points& points) {
  Sorted s;
  const int width = frame.camera.width, height = frame.camera.height;
  s.taps.resize(static_cast<std::size_t>(points.count) * kTaps);
  s.begin.assign(static_cast<std::size_t>(frame.tiles()) + 1, 0);
  for (std::int64_t p = 0; p < points.count; ++p) {
    const float x = within(points.pixels[2 * p] - 0.5f, width), y = within(points.pixels[2 * p + 1] - 0.5f, height);
    const int left = static_cast<int>(x), top = static_cast<int>(y);
    const float u = x - static_cast<float>(left), v = y - static_cast<float>(top);
    for (int k = 0; k < kTaps; ++k) {
      const int column = std::min(left + (k & 1), width - 1), row = std::min(top + (k >> 1), height - 1);
      const int tile = row / kTile * frame.tiles_x + column / kTile;
      s.taps[static_cast<std::size_t>(p * kTaps + k)] = {tile, column % kTile, row % kTile, ((k & 1) ? u : 1.f - u) * ((k >> 1) ? v : 1.f - v)};
      ++s.begin[static_cast<std::size_t>(tile) + 1];
    }
  }
  for (std::size_t t = 0; t + 1 < s.begin.size(); ++t) {
    if (s.begin[t + 1] > 0) s.tiles.push_back(static_cast<std::int32_t>(t));
    s.begin[t + 1] += s.begin[t];
  }
  std::vector<std::int32_t> next(s.begin.begin(), s.begin.end() - 1);
  s.order.resize(s.taps.size());
  for (std::size_t i = 0; i < s.taps.size(); ++i) s.order[static_cast<std::size_t>(next[static_cast<std::size_t>(s.taps[i].tile)]++)] = static_cast<std::int32_t>(i);
  return s;
}

// A vector of taps of one tile.
struct Group {
  vfloat x, y, transmittance, behind;
  vint last;        // list entry that was the last to be blended there, -1 for unused lanes
  BlockSet blocks;  // of the tile, that the taps lie in
  int newest;       // the largest of `last`
};

Group group_of(const Frame& frame, const TileView& tile, const Sorted& s, std::int32_t first, int live) {
  Group g{};
  g.last = splat_int(-1);
  g.newest = -1;
  for (int lane = 0; lane < live; ++lane) {
    const Tap& tap = s.taps[static_cast<std::size_t>(s.order[static_cast<std::size_t>(first + lane)])];
    const int block = tap.x / kBlockWidth * kBlockRows + tap.y / kBlockHeight, place = tap.y % kBlockHeight * kBlockWidth + tap.x % kBlockWidth;
    const std::size_t at = tile.pixels + static_cast<std::size_t>(block * kLanes + place);
    g.x[lane] = static_cast<float>(tap.x), g.y[lane] = static_cast<float>(tap.y);
    g.blocks |= BlockSet{1} << block;
    g.transmittance[lane] = frame.transmittance[at];
    g.last[lane] = frame.pixel_last[at];
    g.newest = std::max(g.newest, frame.pixel_last[at]);
  }
  return g;
}

// One list entry at the places of a group.
struct Reached {
  vfloat u, v, log2_alpha;
  mask blended;

  Reached(const Splat& s, const Group& g, float x, float y, int entry) {
    const vfloat dx = g.x - x;
    v = s.l * dx;
    u = s.p * (g.y - y) + s.r * dx;
    log2_alpha = (s.log2_opacity - v * v) - u * u;
    blended = at_least(log2_alpha, splat(kMinAlpha2)) & at_least(g.last, splat_int(entry));
  }
};

// All taps of one tile; kChannels is the number of blended channels, or 0 where it is only known at run time.
template <int kChannels>
class TilePoints {
 public:
  TilePoints(const Frame& frame, const ff_points& points, const Sorted& sorted, int tile)
      : frame_(frame), points_(points), sorted_(sorted), tile_(frame, tile), channels_(kChannels > 0 ? kChannels : points.groups * points.width) {
    const std::size_t t = static_cast<std::size_t>(tile);
    first_ = sorted.begin[t];
    taps_ = sorted.begin[t + 1] - first_;
    for (std::int32_t at = 0; at < taps_; at += kLanes) groups_.push_back(group_of(frame, tile_, sorted, first_ + at, std::min<std::int32_t>(kLanes, taps_ - at)));
    for (const Group& g : groups_) newest_ = std::max(newest_, g.newest), blocks_ |= g.blocks;
  }

  // Writes the blended channels and then the accumulated opacity of every tap to `out` (taps in order, channels + 1).
  void blend(float* out) {
    const int numbers = channels_ + 1;
    thread_local Buffer<vfloat> kept;
    vfloat* const sums = kept.resize(groups_.size() * static_cast<std::size_t>(numbers));
    std::fill_n(sums, groups_.size() * static_cast<std::size_t>(numbers), vfloat{});
    for (Group& g : groups_) g.transmittance = splat(1.f);
    for (int entry = tile_.begin; entry <= newest_; ++entry) {
      prefetch(frame_, std::min(entry + kAhead, newest_));
      visit(entry, [&](std::size_t number, const Splat&, const Reached& at, const float* values) {
        Group& g = groups_[number];
        const vfloat weight = keep(at.blended, minimum(exp2(at.log2_alpha), splat(kMaxAlpha)) * g.transmittance);
        g.transmittance -= weight;
        vfloat* sum = sums + number * static_cast<std::size_t>(numbers);
        for (int c = 0; c < channels_; ++c) sum[c] += weight * values[c];
        sum[channels_] += weight;
      });
    }
    for (std::int32_t i = 0; i < taps_; ++i) {
      const vfloat* sum = sums + static_cast<std::size_t>(i / kLanes) * static_cast<std::size_t>(numbers);
      for (int c = 0; c < numbers; ++c) out[static_cast<std::size_t>(first_ + i) * static_cast<std::size_t>(numbers) + static_cast<std::size_t>(c)] = sum[c][i % kLanes];
    }
  }

  // Adds moments to the records of `scratch`; writes the gradients of the values of this tile's entries, in the order in which they come up,
  // to `of_values` (entries, channels) and whose they are to `rows`. Returns how many.
  int unblend(BackwardScratch& scratch, float* of_values, std::int32_t* rows) {
    const int numbers = channels_ + 1;
    thread_local Buffer<vfloat> kept;
    vfloat* const of = kept.resize(groups_.size() * static_cast<std::size_t>(numbers));
    load_gradients(of);
    int found = 0;
    for (int entry = newest_; entry >= tile_.begin; --entry) {
      prefetch(frame_, std::max(entry - kAhead, tile_.begin));
      vfloat moments[kMoments] = {}, by_value[kChannels > 0 ? kChannels : kMaxChannels] = {};
      bool touched = false;
      visit(entry, [&](std::size_t number, const Splat& s, const Reached& at, const float* values) {
        touched = true;
        add_moments(s, at, take_out(groups_[number], at, of + number * static_cast<std::size_t>(numbers), values, by_value), moments);
      });
      if (!touched) continue;
      record(scratch, entry, moments);
      rows[found] = frame_.tile_row[static_cast<std::size_t>(entry)];
      float* to = of_values + static_cast<std::size_t>(found++) * static_cast<std::size_t>(channels_);
      for (int c = 0; c < channels_; c += kLanes) {
        const vfloat sums = sum_lanes(by_value + c, std::min(kLanes, channels_ - c));
        for (int i = 0; i < std::min(kLanes, channels_ - c); ++i) to[c + i] = sums[i];
      }
    }
    return found;
  }

 private:
  // Calls use(group's number, splat, where it is reached, its values) for the groups that list entry `entry` was blended into.
  template <class F>
  void visit(int entry, F&& use) {
    const BlockSet drawn = frame_.tile_blocks[static_cast<std::size_t>(entry)];
    if ((drawn & blocks_) == 0) return;
    const std::size_t row = static_cast<std::size_t>(frame_.tile_row[static_cast<std::size_t>(entry)]);
    const Splat& s = frame_.splats[row];
    const float x = s.x - (static_cast<float>(tile_.left) + 0.5f), y = s.y - (static_cast<float>(tile_.top) + 0.5f);
    float values[kChannels > 0 ? kChannels : kMaxChannels];
    bool loaded = false;
    for (std::size_t number = 0; number < groups_.size(); ++number) {
      const Group& g = groups_[number];
      if (entry > g.newest || (drawn & g.blocks) == 0) continue;
      const Reached at(s, g, x, y, entry);
      if (!any(at.blended)) continue;
      if (!loaded) load_values(row, values);
      loaded = true;
      use(number, s, at, values);
    }
  }

  void load_values(std::size_t row, float* values) const {
    const std::size_t width = static_cast<std::size_t>(points_.width), count = static_cast<std::size_t>(frame_.count);
    for (std::size_t k = 0; k < static_cast<std::size_t>(points_.groups); ++k) {
      std::memcpy(values + k * width, points_.values + (k * count + row) * width, width * sizeof(float));
    }
  }

  void load_gradients(vfloat* of) const {
    const int numbers = channels_ + 1;
    for (std::int32_t i = 0; i < taps_; ++i) {
      const std::int32_t tap = sorted_.order[static_cast<std::size_t>(first_ + i)];
      const float share = sorted_.taps[static_cast<std::size_t>(tap)].share;
      const float* from = points_.of_points + static_cast<std::size_t>(tap / kTaps) * static_cast<std::size_t>(numbers);
      vfloat* to = of + static_cast<std::size_t>(i / kLanes) * static_cast<std::size_t>(numbers);
      for (int c = 0; c < numbers; ++c) to[c][i % kLanes] = share * from[c];
    }
    if (taps_ % kLanes != 0) {
      vfloat* to = of + static_cast<std::size_t>(taps_ / kLanes) * static_cast<std::size_t>(numbers);
      for (int c = 0; c < numbers; ++c) {
        for (int lane = taps_ % kLanes; lane < kLanes; ++lane) to[c][lane] = 0.f;
      }
    }
  }

  // Takes one contribution back out of a group: transmittance and `behind` become those before it; returns d loss / d ln alpha.
  vfloat take_out(Group& g, const Reached& at, const vfloat* of, const float* values, vfloat* by_value) const {
    const vfloat full = exp2(at.log2_alpha);
    const mask free = at.blended & less(full, splat(kMaxAlpha));
    const vfloat alpha = keep(at.blended, minimum(full, splat(kMaxAlpha))), inverse = reciprocal(1.f - alpha);
    const vfloat t = select(at.blended, g.transmittance * inverse, g.transmittance), weight = alpha * t;
    g.transmittance = t;
    vfloat here = of[channels_];
    for (int c = 0; c < channels_; ++c) {
      here += of[c] * values[c];
      by_value[c] += weight * of[c];
    }
    const vfloat of_alpha = t * here - g.behind * inverse;
    g.behind += weight * here;
    return keep(free, alpha * of_alpha);
  }

  static void add_moments(const Splat& s, const Reached& at, vfloat q, vfloat* m) {
    const vfloat qu = q * at.u, qv = q * at.v;
    m[kQ] += q, m[kQv] += qv, m[kQu] += qu, m[kQvv] += qv * at.v, m[kQuv] += qu * at.v, m[kQuu] += qu * at.u;
    m[kAbsY] += absolute(qu);
    m[kAbsX] += absolute(s.l * qv + qu * s.r);
  }

  void record(BackwardScratch& scratch, int entry, const vfloat* moments) const {
    const std::size_t slot = static_cast<std::size_t>(frame_.tile_slot[static_cast<std::size_t>(entry)]);
    float* to = &scratch.records[slot * static_cast<std::size_t>(scratch.record)];
    if (!scratch.touched[slot]) std::fill_n(to, scratch.record, 0.f);
    scratch.touched[slot] = 1;
    for (int i = 0; i < kMoments; i += kLanes) {
      const vfloat sums = sum_lanes(moments + i, std::min<int>(kLanes, kMoments - i));
      for (int k = 0; k < std::min<int>(kLanes, kMoments - i); ++k) to[i + k] += sums[k];
    }
  }

  const Frame& frame_;
  const ff_points& points_;
  const Sorted& sorted_;
  const TileView tile_;
  const int channels_;
  std::int32_t first_ = 0, taps_ = 0;
  int newest_ = -1;
  BlockSet blocks_ = 0;
  std::vector<Group> groups_;
};

template <class F>
void with_values(int channels, F&& run) {
  switch (channels) {
    case 3: return run(std::integral_constant<int, 3>());
    case 6: return run(std::integral_constant<int, 6>());
    default: return run(std::integral_constant<int, 0>());
  }
}

}  // namespace

void draw_points(const Frame& frame, const ff_points& points, float* out) {
  const Sorted sorted = sorted_taps(frame, points);
  const int numbers = points.groups * points.width + 1;
  const std::size_t wide = static_cast<std::size_t>(numbers);
  thread_local Buffer<float> kept;
  float* const taps = kept.resize(sorted.taps.size() * wide + 1);
  with_values(numbers - 1, [&](auto channels) {
    parallel_for(static_cast<int>(sorted.tiles.size()), [&](int t) {
      TilePoints<decltype(channels)::value>(frame, points, sorted, sorted.tiles[static_cast<std::size_t>(t)]).blend(taps);
    });
  });
  std::fill_n(out, static_cast<std::size_t>(points.count) * wide, 0.f);
  for (std::size_t i = 0; i < sorted.order.size(); ++i) {
    const std::size_t tap = static_cast<std::size_t>(sorted.order[i]);
    const float share = sorted.taps[tap].share;
    for (std::size_t c = 0; c < wide; ++c) out[tap / kTaps * wide + c] += share * taps[i * wide + c];
  }
}

void draw_points_backward(const Frame& frame, const ff_points& points, BackwardScratch& scratch) {
  const Sorted sorted = sorted_taps(frame, points);
  const std::size_t width = static_cast<std::size_t>(points.width), channels = static_cast<std::size_t>(points.groups) * width;
  const std::size_t count = static_cast<std::size_t>(frame.count);
  std::vector<std::size_t> place(sorted.tiles.size() + 1, 0);
  for (std::size_t t = 0; t < sorted.tiles.size(); ++t) {
    const TileView tile(frame, sorted.tiles[t]);
    place[t + 1] = place[t] + static_cast<std::size_t>(tile.end - tile.begin);
  }
  thread_local Buffer<float> kept;
  thread_local Buffer<std::int32_t> kept_rows;
  float* const of_values = kept.resize(place.back() * channels + 1);
  std::int32_t* const rows = kept_rows.resize(place.back() + 1);
  std::vector<int> found(sorted.tiles.size(), 0);
  with_values(static_cast<int>(channels), [&](auto known) {
    parallel_for(static_cast<int>(sorted.tiles.size()), [&](int number) {
      const std::size_t t = static_cast<std::size_t>(number);
      TilePoints<decltype(known)::value> tile(frame, points, sorted, sorted.tiles[t]);
      found[t] = tile.unblend(scratch, of_values + place[t] * channels, rows + place[t]);
    });
  });
  if (points.by_values == nullptr) return;
  std::fill_n(points.by_values, count * channels, 0.f);
  for (std::size_t t = 0; t < sorted.tiles.size(); ++t) {
    for (std::size_t i = place[t]; i < place[t] + static_cast<std::size_t>(found[t]); ++i) {
      const std::size_t row = static_cast<std::size_t>(rows[i]);
      for (std::size_t c = 0; c < channels; ++c) points.by_values[(c / width * count + row) * width + c % width] += of_values[i * channels + c];
    }
  }
}

}  // namespace fourfold
