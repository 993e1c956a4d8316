// Blending front to back, one tile per task, one block of pixels per vector.
//
// A tile's list is taken in batches. For each block the entries of a batch that can reach it are found first; then the block walks
// through them with its transmittance in a register, and the weights it found blend its channels, a few of them at a time. No
// branch in these loops depends on a pixel, but for the rare one that is finished.

#include <cstdint>
#include <type_traits>

#include "pool.h"
#include "reach.h"
#include "tile.h"

namespace fourfold {
namespace {

constexpr int kGroup = 8;  // channels blended together: their sums stay in registers

// What is tracked per pixel beside the blended channels when asked: list entries, -1 where there is none.
struct Tracks {
  vint first[kBlocks], median[kBlocks], top[kBlocks];
  vfloat top_weight[kBlocks];
};
struct NoTracks {};

// What a block receives from a batch: weights of the entries that reach a pixel of it.
struct Weights {
  int count = 0;
  std::int32_t entry[kBatch];  // within the batch
  vfloat weight[kBatch];
};

template <bool kTrack>
class TilePainter {
 public:
  TilePainter(Frame& frame, const TileView& tile) : frame_(frame), tile_(tile), channels_(frame.channels) {
    for (int b = 0; b < kBlocks; ++b) {
      vfloat inside{};
      for_lanes(tile, b, [&](int lane, int, int) { inside[lane] = 1.f; });
      open_[b] = greater(inside, vfloat{});
      transmittance_[b] = splat(1.f);
      coverage_[b] = vfloat{};
      last_[b] = splat_int(-1);
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
    int begin = tile_.begin;
    for (bool open = true; open && begin < tile_.end; begin += kBatch) {
      begin_ = begin;
      const int n = std::min(kBatch, tile_.end - begin);
      load_batch(n);
      EntrySet reach[kBlocks];
      find_reach(tile_, splats_, n, reach);
      open = false;
      for (int b = 0; b < kBlocks; ++b) {
        if (!any(open_[b])) continue;
        open = true;
        if (reach[b] == 0) continue;
        weigh(b, reach[b]);
        blend(b);
      }
    }
    frame_.tile_drawn[static_cast<std::size_t>(tile_.index)] = std::min(begin, tile_.end);
  }

  void finish(const float* background, const ff_images& images) {
    for (int b = 0; b < kBlocks; ++b) {
      const std::size_t at = tile_.pixels + static_cast<std::size_t>(b * kLanes);
      store(&frame_.transmittance[at], transmittance_[b]);
      const mask hit = greater(coverage_[b], vfloat{});
      const vfloat depth = keep(hit, sums_[b * channels_ + channels_ - 1] / select(hit, coverage_[b], splat(1.f)));
      store(&frame_.coverage[at], coverage_[b]);
      store(&frame_.pixel_depth[at], depth);
      std::memcpy(&frame_.pixel_last[at], &last_[b], sizeof last_[b]);
      write(b, depth, background, images);
    }
  }

 private:
  void load_batch(int n) {
    for (int i = 0; i < n; ++i) {
      prefetch(frame_, std::min(begin_ + i + kAhead, tile_.end - 1));
      const std::size_t row = row_at(begin_ + i);
      splats_[i] = frame_.splats[row];
      values_[i] = &frame_.values[row * static_cast<std::size_t>(channels_)];
    }
    std::memset(&frame_.tile_blocks[static_cast<std::size_t>(begin_)], 0, static_cast<std::size_t>(n) * sizeof(BlockSet));
  }

  // T *= 1 - alpha through the entries that reach a block; their weights alpha T go to weights_.
  void weigh(int b, EntrySet reach) {
    const vfloat x = block_x(tile_, b), y = block_y(tile_, b);
    vfloat t = transmittance_[b], coverage = coverage_[b];
    vint last = last_[b];
    mask open = open_[b];
    BlockSet* blocks = &frame_.tile_blocks[static_cast<std::size_t>(begin_)];
    int count = 0;
    for (; reach != 0; reach &= reach - 1) {
      const int i = __builtin_ctzll(reach);
      const Splat& s = splats_[i];
      const vfloat dx = x - s.x, v = s.l * dx, u = s.p * (y - s.y) + s.r * dx, log2_alpha = s.log2_opacity - v * v - u * u;
      mask blended = at_least(log2_alpha, splat(kMinAlpha2)) & open;
      vfloat alpha = keep(blended, minimum(exp2(log2_alpha), splat(kMaxAlpha)));
      vfloat rest = t - alpha * t;
      const mask ended = blended & ~greater(rest, splat(kMinTransmittance));
      if (__builtin_expect(any(ended), 0)) {
        open = open & ~ended, blended = blended & ~ended;
        alpha = keep(blended, alpha);
        rest = select(ended, t, rest);
      }
      const vfloat weight = alpha * t;
      if constexpr (kTrack) track(b, blended, t, weight, begin_ + i);
      coverage += weight;
      last = select(blended, splat_int(begin_ + i), last);
      t = rest;
      const bool hit = any(blended);
      blocks[i] = static_cast<BlockSet>(blocks[i] | static_cast<BlockSet>(hit) << b);
      weights_.entry[count] = i;
      weights_.weight[count] = weight;
      count += hit;
    }
    weights_.count = count;
    transmittance_[b] = t, coverage_[b] = coverage, last_[b] = last, open_[b] = open;
  }

  // C += alpha T c.
  void blend(int b) {
    vfloat* sums = sums_ + b * channels_;
    int c = 0;
    for (; c + kGroup <= channels_; c += kGroup) blend_group<kGroup>(sums + c, c);
    switch (channels_ - c) {
      case 1: return blend_group<1>(sums + c, c);
      case 2: return blend_group<2>(sums + c, c);
      case 3: return blend_group<3>(sums + c, c);
      case 4: return blend_group<4>(sums + c, c);
      case 5: return blend_group<5>(sums + c, c);
      case 6: return blend_group<6>(sums + c, c);
      case 7: return blend_group<7>(sums + c, c);
      default: return;
    }
  }

  template <int kChannels>
  void blend_group(vfloat* sums, int first) const {
    vfloat group[kChannels];
    for (int c = 0; c < kChannels; ++c) group[c] = sums[c];
    for (int k = 0; k < weights_.count; ++k) {
      const vfloat weight = weights_.weight[k];
      const float* values = values_[weights_.entry[k]] + first;
      for (int c = 0; c < kChannels; ++c) group[c] += weight * values[c];
    }
    for (int c = 0; c < kChannels; ++c) sums[c] = group[c];
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

  std::size_t row_at(int entry) const { return static_cast<std::size_t>(frame_.tile_row[static_cast<std::size_t>(entry)]); }

  void write(int b, vfloat depth, const float* background, const ff_images& images) const {
    const vfloat* sums = sums_ + b * channels_;
    const std::size_t extra = static_cast<std::size_t>(channels_) - 4;
    alignas(64) float color[3][kLanes], alpha[kLanes], z[kLanes];
    for (int c = 0; c < 3; ++c) store(color[c], sums[c] + transmittance_[b] * background[c]);
    store(alpha, coverage_[b]), store(z, depth);
    for_rows(frame_, tile_, b, [&](int lane, std::size_t pixel, int width) {
      float *to_color = images.color + pixel * 3, *to_alpha = images.alpha + pixel, *to_depth = images.depth + pixel;
      for_row(width, [&](int i) {
        for (int c = 0; c < 3; ++c) to_color[3 * i + c] = color[c][lane + i];
      });
      for_row(width, [&](int i) { to_alpha[i] = alpha[lane + i]; });
      for_row(width, [&](int i) { to_depth[i] = z[lane + i]; });
      float* to = images.channels + pixel * extra;
      for (int i = 0; i < (extra > 0 ? width : 0); ++i) {
        for (std::size_t c = 0; c < extra; ++c) *to++ = sums[3 + c][lane + i];
      }
      if constexpr (kTrack) {
        for (int i = 0; i < width; ++i) write_tracks(b, lane + i, pixel + static_cast<std::size_t>(i), images);
      }
    });
  }

  void write_tracks(int b, int lane, std::size_t pixel, const ff_images& images) const {
    const std::int32_t hit = frame_.camera.depth_mode == 1 ? tracks_.median[b][lane] : tracks_.first[b][lane];
    if (frame_.camera.depth_mode != 0) images.depth[pixel] = hit >= 0 ? frame_.splats[row_at(hit)].depth : 0.f;
    const std::int32_t top = tracks_.top[b][lane];
    if (images.top != nullptr) images.top[pixel] = top >= 0 ? static_cast<std::int32_t>(row_at(top)) : -1;
  }

  Frame& frame_;
  const TileView& tile_;
  const int channels_;
  int begin_ = 0;  // first entry of the batch
  Splat splats_[kBatch];
  const float* values_[kBatch];
  Weights weights_;
  mask open_[kBlocks];  // pixels in the image that are not finished
  vfloat transmittance_[kBlocks], coverage_[kBlocks];
  vint last_[kBlocks];
  vfloat sums_[kMaxChannels * kBlocks];
  std::conditional_t<kTrack, Tracks, NoTracks> tracks_;
};

template <bool kTrack>
void draw_tile(Frame& frame, int index, const float* background, const ff_images& images) {
  const TileView tile(frame, index);
  TilePainter<kTrack> painter(frame, tile);
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
  frame.tile_drawn.resize(tiles);
  frame.tile_blocks.resize(frame.intersections());
  const bool track = frame.camera.depth_mode != 0 || images.top != nullptr;
  const auto run = track ? draw_tile<true> : draw_tile<false>;
  parallel_for(frame.tiles(), [&](int t) { run(frame, frame.tile_order[static_cast<std::size_t>(t)], background, images); });
}

}  // namespace fourfold
