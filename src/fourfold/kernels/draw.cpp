// Blending front to back, one tile per task, one block of pixels per vector.

#include <cstdint>
#include <type_traits>

#include "pool.h"
#include "tile.h"

namespace fourfold {
namespace {

using BlockSet = std::uint64_t;  // bit b: block b
static_assert(kBlocks <= 64, "blocks of a tile fit a word");

// What is tracked per pixel beside the blended channels when asked: list entries, -1 where there is none.
struct Tracks {
  vint first[kBlocks], median[kBlocks], top[kBlocks];
  vfloat top_weight[kBlocks];
};
struct NoTracks {};

template <int kChannels, bool kTrack>
class TilePainter {
 public:
  TilePainter(Frame& frame, const TileView& tile) : frame_(frame), tile_(tile), channels_(kChannels > 0 ? kChannels : frame.channels) {
    for (int b = 0; b < kBlocks; ++b) {
      vfloat start = splat(-1.f);  // lanes outside the image count as finished
      for_lanes(tile, b, [&](int lane, int, int) { start[lane] = 1.f; });
      transmittance_[b] = start;
      coverage_[b] = vfloat{};
      last_[b] = splat_int(-1);
      if (any(greater(start, vfloat{}))) alive_ |= BlockSet{1} << b;
    }
    for (int i = 0; i < channels_ * kBlocks; ++i) sums_[i] = vfloat{};
    if constexpr (kTrack) {
      for (int b = 0; b < kBlocks; ++b) {
        tracks_.first[b] = tracks_.median[b] = tracks_.top[b] = splat_int(-1);
        tracks_.top_weight[b] = vfloat{};
      }
    }
  }

  void paint() {
    for (int entry = tile_.begin; entry < tile_.end && alive_ != 0; ++entry) {
      prefetch(frame_, std::min(entry + kAhead, tile_.end - 1));
      add(entry);
    }
  }

  void finish(const float* background, const ff_images& images) {
    frame_.tile_last[static_cast<std::size_t>(tile_.index)] = tile_last_;
    for (int b = 0; b < kBlocks; ++b) {
      const std::size_t at = tile_.pixels + static_cast<std::size_t>(b * kLanes);
      const vfloat t = absolute(transmittance_[b]);
      store(&frame_.transmittance[at], t);
      const mask hit = greater(coverage_[b], vfloat{});
      const vfloat depth = keep(hit, sums_[b * channels_ + channels_ - 1] / select(hit, coverage_[b], splat(1.f)));
      store(&frame_.coverage[at], coverage_[b]);
      store(&frame_.pixel_depth[at], depth);
      std::memcpy(&frame_.pixel_last[at], &last_[b], sizeof last_[b]);
      write(b, t, depth, background, images);
    }
  }

 private:
  void add(int entry) {
    const std::size_t rank = static_cast<std::size_t>(frame_.tile_rank[static_cast<std::size_t>(entry)]);
    const Splat& s = frame_.splats[rank];
    const float* values = &frame_.values[rank * static_cast<std::size_t>(channels_)];
    const float x = s.x - (static_cast<float>(tile_.left) + 0.5f), y = s.y - (static_cast<float>(tile_.top) + 0.5f);
    const ColumnRange columns = column_range(s, x, tile_.width);
    for (int column = columns.first; column <= columns.last; ++column) {
      BlockSet rows = column_rows(s, x, y, column, tile_.height) & (alive_ >> (column * kBlockRows));
      if (rows == 0) continue;
      const vfloat dx = lane_x() + (static_cast<float>(column * kBlockWidth) - x);
      const vfloat v = s.l * dx, top = s.log2_opacity - v * v, shear = s.r * dx;
      for (; rows != 0; rows &= rows - 1) {
        const int row = __builtin_ctzll(rows);
        const vfloat u = s.p * (lane_y() + (static_cast<float>(row * kBlockHeight) - y)) + shear;
        blend(column * kBlockRows + row, top - u * u, entry, values);
      }
    }
  }

  // C += alpha T c, T *= 1 - alpha. The sign of T marks a finished pixel.
  void blend(int b, vfloat log2_alpha, int entry, const float* values) {
    const vfloat t = transmittance_[b];
    const mask reached = at_least(log2_alpha, splat(kMinAlpha2)) & greater(t, vfloat{});
    if (!any(reached)) return;
    const vfloat alpha = minimum(exp2(log2_alpha), splat(kMaxAlpha));
    const vfloat rest = t - alpha * t;
    const mask blended = reached & greater(rest, splat(kMinTransmittance));
    const vfloat weight = keep(blended, alpha * t);
    coverage_[b] += weight;
    vfloat* sums = sums_ + b * channels_;
#pragma GCC unroll 16
    for (int c = 0; c < channels_; ++c) sums[c] += weight * values[c];
    last_[b] = select(blended, splat_int(entry), last_[b]);
    tile_last_ = entry;
    if constexpr (kTrack) track(b, blended, t, weight, entry);
    vfloat next = select(blended, rest, t);
    const mask ended = reached & ~blended;
    if (__builtin_expect(any(ended), 0)) {
      next = select(ended, vfloat{} - next, next);
      if (!any(greater(next, vfloat{}))) alive_ &= ~(BlockSet{1} << b);
    }
    transmittance_[b] = next;
  }

  void track(int b, mask blended, vfloat t, vfloat weight, int entry) {
    const vint here = splat_int(entry), none = splat_int(0);
    const mask empty = blended & ~at_least(tracks_.first[b], none);
    tracks_.first[b] = select(empty, here, tracks_.first[b]);
    tracks_.median[b] = select(blended & greater(t, splat(0.5f)), here, tracks_.median[b]);
    const mask stronger = blended & greater(weight, tracks_.top_weight[b]);
    tracks_.top_weight[b] = select(stronger, weight, tracks_.top_weight[b]);
    tracks_.top[b] = select(stronger, here, tracks_.top[b]);
  }

  std::int32_t rank_of(std::int32_t entry) const { return frame_.tile_rank[static_cast<std::size_t>(entry)]; }

  void write(int b, vfloat t, vfloat depth, const float* background, const ff_images& images) const {
    const vfloat* sums = sums_ + b * channels_;
    const int extra = channels_ - 4;
    for_lanes(tile_, b, [&](int lane, int x, int y) {
      const std::size_t pixel = tile_.pixel(frame_, x, y);
      const float rest = t[lane];
      for (int c = 0; c < 3; ++c) images.color[pixel * 3 + static_cast<std::size_t>(c)] = sums[c][lane] + rest * background[c];
      images.alpha[pixel] = coverage_[b][lane];
      float* channels = images.channels + pixel * static_cast<std::size_t>(extra);
      for (int c = 0; c < extra; ++c) channels[c] = sums[3 + c][lane];
      images.depth[pixel] = depth[lane];
      if constexpr (kTrack) {
        const std::int32_t hit = frame_.camera.depth_mode == 1 ? tracks_.median[b][lane] : tracks_.first[b][lane];
        if (frame_.camera.depth_mode != 0) images.depth[pixel] = hit >= 0 ? frame_.splats[static_cast<std::size_t>(rank_of(hit))].depth : 0.f;
        const std::int32_t top = tracks_.top[b][lane];
        if (images.top != nullptr) images.top[pixel] = top >= 0 ? frame_.row[static_cast<std::size_t>(rank_of(top))] : -1;
      }
    });
  }

  Frame& frame_;
  const TileView& tile_;
  const int channels_;
  BlockSet alive_ = 0;
  int tile_last_ = -1;
  vfloat transmittance_[kBlocks], coverage_[kBlocks];
  vint last_[kBlocks];
  vfloat sums_[(kChannels > 0 ? kChannels : kMaxChannels) * kBlocks];
  std::conditional_t<kTrack, Tracks, NoTracks> tracks_;
};

template <int kChannels, bool kTrack>
void draw_tile(Frame& frame, int index, const float* background, const ff_images& images) {
  const TileView tile(frame, index);
  TilePainter<kChannels, kTrack> painter(frame, tile);
  painter.paint();
  painter.finish(background, images);
}

}  // namespace

void draw(Frame& frame, const float* background, const ff_images& images) {
  const std::size_t tiles = static_cast<std::size_t>(frame.tiles());
  frame.transmittance.resize(tiles * kTilePixels);
  frame.coverage.resize(tiles * kTilePixels);
  frame.pixel_depth.resize(tiles * kTilePixels);
  frame.pixel_last.resize(tiles * kTilePixels);
  frame.tile_last.resize(tiles);
  const bool track = frame.camera.depth_mode != 0 || images.top != nullptr;
  if (track) {
    parallel_for(frame.tiles(), [&](int t) { draw_tile<0, true>(frame, frame.tile_order[static_cast<std::size_t>(t)], background, images); });
    return;
  }
  with_channels(frame.channels, [&](auto channels) {
    parallel_for(frame.tiles(), [&](int t) {
      draw_tile<decltype(channels)::value, false>(frame, frame.tile_order[static_cast<std::size_t>(t)], background, images);
    });
  });
}

}  // namespace fourfold
