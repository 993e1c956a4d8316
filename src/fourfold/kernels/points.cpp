// Channels blended at single positions of a drawn image, read bilinearly between the four pixels around: what drawing them over the whole
// image and reading it there would give, forward and backward, from the lists and transmittances that drawing left.
//
// The four taps of every point are sorted by tile. Of a tile's list those entries are taken that were blended into a block with a tap; a vector
// holds as many of them, one behind the other, and products of transmittances and sums of what lies behind are scans over its lanes. So every
// number of an entry stays in its lane for all taps of the tile. Sums over taps and tiles are in an order that the input fixes.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

#include "points.h"
#include "pool.h"
#include "scan.h"
#include "tile.h"

namespace fourfold {
namespace {

constexpr int kTaps = 4;
constexpr std::size_t kSoon = 12;  // entries ahead of what is read: rows of one tile lie far apart

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

// Rows of numbers per entry: geometry, then the moments and the weight that the backward pass gathers; values and their gradients follow.
enum Row { kX, kY, kL, kP, kR, kLog2Opacity, kShapes, kWeight = kShapes, kGathered, kRows = kGathered + kMoments };

// All taps of one tile; kChannels is the number of blended channels, or 0 where it is only known at run time.
template <int kChannels>
class TilePoints {
 public:
  TilePoints(const Frame& frame, const ff_points& points, const Sorted& sorted, int tile)
      : frame_(frame), points_(points), sorted_(sorted), tile_(frame, tile), known_(points.groups * points.width) {
    const std::size_t t = static_cast<std::size_t>(tile);
    first_ = sorted.begin[t];
    taps_ = sorted.begin[t + 1] - first_;
    choose();
    thread_local Buffer<float> kept;
    stride_ = (chosen_.size() + kLanes - 1) / kLanes * kLanes;
    rows_ = kept.resize((kRows + 2 * static_cast<std::size_t>(channels())) * stride_ + 1);
    fill();
  }

  // Writes the blended channels and then the accumulated opacity of every tap to `out` (taps in order, channels + 1).
  void blend(float* out) const {
    for (std::int32_t i = 0; i < taps_; ++i) {
      const Place place = place_of(i);
      vfloat sums[(kChannels > 0 ? kChannels : kMaxChannels) + 1] = {};
      float transmittance = 1.f;
      for (std::size_t at = 0; at < stride_ && entries_[at] <= place.last; at += kLanes) {
        const Reached here(*this, place, at);
        if (!any(here.blended)) continue;
        const vfloat alpha = keep(here.blended, minimum(exp2(here.log2_alpha), splat(kMaxAlpha))), until = products_until(1.f - alpha);
        const vfloat weight = alpha * transmittance * shifted<-1>(until, splat(1.f));
        transmittance *= until[kLanes - 1];
        for (int c = 0; c < channels(); ++c) sums[c] += weight * load(value(c) + at);
        sums[channels()] += weight;
      }
      float* to = out + static_cast<std::size_t>(first_ + i) * static_cast<std::size_t>(channels() + 1);
      for (int c = 0; c <= channels(); c += kLanes) {
        const int n = std::min(kLanes, channels() + 1 - c);
        const vfloat found = sum_lanes(sums + c, n);
        for (int k = 0; k < n; ++k) to[c + k] = found[k];
      }
    }
  }

  // Adds moments to the records of `scratch`; writes the gradients of the values of this tile's entries, in the order in which they come up,
  // to `of_values` (entries, channels) and whose they are to `rows`. Returns how many.
  int unblend(BackwardScratch& scratch, float* of_values, std::int32_t* rows) {
    std::fill_n(rows_ + kWeight * stride_, (kRows - kWeight) * stride_, 0.f);
    std::fill_n(gradient(0), static_cast<std::size_t>(channels()) * stride_, 0.f);
    for (std::int32_t i = 0; i < taps_; ++i) take_out(i);
    int found = 0;
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const std::size_t coming = static_cast<std::size_t>(chosen_[std::min(i + kSoon, chosen_.size() - 1)]);
      __builtin_prefetch(&scratch.records[static_cast<std::size_t>(frame_.tile_slot[coming]) * static_cast<std::size_t>(scratch.record)], 1);
      if (!(rows_[kWeight * stride_ + i] > 0.f)) continue;
      record(scratch, chosen_[i], i);
      rows[found] = frame_.tile_row[static_cast<std::size_t>(chosen_[i])];
      float* to = of_values + static_cast<std::size_t>(found++) * static_cast<std::size_t>(channels());
      for (int c = 0; c < channels(); ++c) to[c] = gradient(c)[i];
    }
    return found;
  }

 private:
  // A tap: where it is and the last list entry that was blended there.
  struct Place {
    float x, y, transmittance;
    int last;
  };

  // A vector of entries at a tap.
  struct Reached {
    vfloat u, v, log2_alpha;
    mask blended;

    Reached(const TilePoints& t, const Place& place, std::size_t at) {
      const vfloat dx = place.x - load(t.row(kX) + at);
      v = load(t.row(kL) + at) * dx;
      u = load(t.row(kP) + at) * (place.y - load(t.row(kY) + at)) + load(t.row(kR) + at) * dx;
      log2_alpha = (load(t.row(kLog2Opacity) + at) - v * v) - u * u;
      vint entry;
      std::memcpy(&entry, &t.entries_[at], sizeof entry);
      blended = at_least(log2_alpha, splat(kMinAlpha2)) & at_least(splat_int(place.last), entry);
    }
  };

  int channels() const { return kChannels > 0 ? kChannels : known_; }
  const float* row(int number) const { return rows_ + static_cast<std::size_t>(number) * stride_; }
  float* value(int channel) const { return rows_ + (kRows + static_cast<std::size_t>(channel)) * stride_; }
  float* gradient(int channel) const { return value(channels() + channel); }

  Place place_of(std::int32_t i) const {
    const Tap& tap = sorted_.taps[static_cast<std::size_t>(sorted_.order[static_cast<std::size_t>(first_ + i)])];
    const std::size_t at = tile_.pixels + static_cast<std::size_t>(block_of(tap) * kLanes + tap.y % kBlockHeight * kBlockWidth + tap.x % kBlockWidth);
    return {static_cast<float>(tap.x), static_cast<float>(tap.y), frame_.transmittance[at], frame_.pixel_last[at]};
  }
  static int block_of(const Tap& tap) { return tap.x / kBlockWidth * kBlockRows + tap.y / kBlockHeight; }

  // The list entries that were blended into a block with a tap.
  void choose() {
    BlockSet blocks = 0;
    int newest = -1;
    for (std::int32_t i = 0; i < taps_; ++i) {
      blocks = static_cast<BlockSet>(blocks | BlockSet{1} << block_of(sorted_.taps[static_cast<std::size_t>(sorted_.order[static_cast<std::size_t>(first_ + i)])]));
      newest = std::max(newest, place_of(i).last);
    }
    for (int entry = tile_.begin; entry <= newest; ++entry) {
      if ((frame_.tile_blocks[static_cast<std::size_t>(entry)] & blocks) != 0) chosen_.push_back(entry);
    }
    entries_ = chosen_;
    entries_.resize((chosen_.size() + kLanes - 1) / kLanes * kLanes, std::numeric_limits<std::int32_t>::max());
  }

  void fill() const {
    std::fill_n(rows_, kShapes * stride_, 0.f);
    std::fill_n(value(0), static_cast<std::size_t>(channels()) * stride_, 0.f);
    const std::size_t width = static_cast<std::size_t>(points_.width), count = static_cast<std::size_t>(frame_.count);
    const float left = static_cast<float>(tile_.left) + 0.5f, top = static_cast<float>(tile_.top) + 0.5f;
    const auto row_at = [&](std::size_t i) { return static_cast<std::size_t>(frame_.tile_row[static_cast<std::size_t>(chosen_[i])]); };
    for (std::size_t i = 0; i < chosen_.size(); ++i) {
      const std::size_t coming = row_at(std::min(i + kSoon, chosen_.size() - 1));
      __builtin_prefetch(&frame_.splats[coming]);
      for (std::size_t k = 0; k < static_cast<std::size_t>(points_.groups); ++k) __builtin_prefetch(points_.values + (k * count + coming) * width);
      const std::size_t at = row_at(i);
      const Splat& s = frame_.splats[at];
      const float shapes[kShapes] = {s.x - left, s.y - top, s.l, s.p, s.r, s.log2_opacity};
      for (std::size_t k = 0; k < kShapes; ++k) rows_[k * stride_ + i] = shapes[k];
      for (std::size_t c = 0; c < static_cast<std::size_t>(channels()); ++c) {
        value(0)[c * stride_ + i] = points_.values[(c / width * count + at) * width + c % width];
      }
    }
  }

  // Takes what was blended at one tap back out, the last first: transmittance and `behind` become those before it.
  void take_out(std::int32_t i) {
    const std::size_t numbers = static_cast<std::size_t>(channels()) + 1;
    const std::size_t tap = static_cast<std::size_t>(sorted_.order[static_cast<std::size_t>(first_ + i)]);
    float of[kMaxChannels + 1];
    for (std::size_t c = 0; c < numbers; ++c) of[c] = sorted_.taps[tap].share * points_.of_points[tap / kTaps * numbers + c];
    const Place place = place_of(i);
    float transmittance = place.transmittance, behind = 0.f;
    for (std::size_t end = stride_; end > 0; end -= kLanes) {
      const std::size_t at = end - kLanes;
      if (entries_[at] > place.last) continue;
      const Reached here(*this, place, at);
      if (!any(here.blended)) continue;
      const vfloat full = exp2(here.log2_alpha);
      const mask free = here.blended & less(full, splat(kMaxAlpha));
      const vfloat alpha = keep(here.blended, minimum(full, splat(kMaxAlpha))), inverse = reciprocal(1.f - alpha);
      const vfloat t = transmittance * products_from(inverse), weight = alpha * t;
      vfloat worth = splat(of[channels()]);
      for (int c = 0; c < channels(); ++c) worth += of[c] * load(value(c) + at);
      const vfloat from = sums_from(weight * worth);
      const vfloat of_alpha = t * worth - (behind + shifted<1>(from, vfloat{})) * inverse;
      add_moments(at, here, keep(free, alpha * of_alpha), weight);
      for (int c = 0; c < channels(); ++c) store(gradient(c) + at, load(gradient(c) + at) + weight * of[c]);
      transmittance = t[0];
      behind += from[0];
    }
  }

  void add_moments(std::size_t at, const Reached& here, vfloat q, vfloat weight) {
    const auto add = [&](int number, vfloat x) {
      float* to = rows_ + static_cast<std::size_t>(number) * stride_ + at;
      store(to, load(to) + x);
    };
    const vfloat qu = q * here.u, qv = q * here.v;
    add(kWeight, weight);
    add(kGathered + kQ, q), add(kGathered + kQv, qv), add(kGathered + kQu, qu);
    add(kGathered + kQvv, qv * here.v), add(kGathered + kQuv, qu * here.v), add(kGathered + kQuu, qu * here.u);
    add(kGathered + kAbsY, absolute(qu));
    add(kGathered + kAbsX, absolute(load(row(kL) + at) * qv + load(row(kR) + at) * qu));
  }

  void record(BackwardScratch& scratch, std::int32_t entry, std::size_t i) const {
    const std::size_t slot = static_cast<std::size_t>(frame_.tile_slot[static_cast<std::size_t>(entry)]);
    float* to = &scratch.records[slot * static_cast<std::size_t>(scratch.record)];
    if (!scratch.touched[slot]) std::fill_n(to, scratch.record, 0.f);
    scratch.touched[slot] = 1;
    for (std::size_t k = 0; k < kMoments; ++k) to[k] += rows_[(kGathered + k) * stride_ + i];
  }

  const Frame& frame_;
  const ff_points& points_;
  const Sorted& sorted_;
  const TileView tile_;
  const int known_;
  std::int32_t first_ = 0, taps_ = 0;
  std::vector<std::int32_t> chosen_, entries_;  // of the list; filled up to whole vectors with what is never reached
  std::size_t stride_ = 0;                      // of the rows
  float* rows_ = nullptr;
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
