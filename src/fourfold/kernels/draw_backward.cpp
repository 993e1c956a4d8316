// The gradient of drawing: back to front through each tile, one record of moments per (tile, Gaussian) intersection.
//
// Records go to slots that are fixed by the input, never to shared sums, so the result does not depend on the threads.

#include <type_traits>

#include "pool.h"
#include "tile.h"

namespace fourfold {
namespace {

template <int kChannels>
class TileGradient {
 public:
  TileGradient(const Frame& frame, const TileView& tile, BackwardScratch& scratch)
      : frame_(frame), tile_(tile), scratch_(scratch), channels_(kChannels > 0 ? kChannels : scratch.channels), with_depth_(channels_ == frame.channels) {}

  // Loads d loss / d channel of every pixel, and starts S = T_final (sum_c g_c background_c - g_alpha): what light from behind is worth.
  void load_images(const float* background, const ff_image_gradients& g) {
    vfloat of_background[3] = {};
    const int extra = frame_.channels - 4;
    for (int b = 0; b < kBlocks; ++b) {
      const std::size_t at = tile_.pixels + static_cast<std::size_t>(b * kLanes);
      const vfloat t = load(&frame_.transmittance[at]);
      std::memcpy(&last_[b], &frame_.pixel_last[at], sizeof last_[b]);
      transmittance_[b] = t;
      x_[b] = block_x(tile_, b), y_[b] = block_y(tile_, b);
      vfloat* of = gradient_ + b * channels_;
      for (int c = 0; c < channels_; ++c) of[c] = vfloat{};
      vfloat of_alpha{}, of_depth{};
      for_lanes(tile_, b, [&](int lane, int x, int y) {
        const std::size_t pixel = tile_.pixel(frame_, x, y);
        if (g.color != nullptr) {
          for (int c = 0; c < 3; ++c) of[c][lane] = g.color[pixel * 3 + static_cast<std::size_t>(c)];
        }
        if (g.channels != nullptr) {
          for (int c = 0; c < extra; ++c) of[3 + c][lane] = g.channels[pixel * static_cast<std::size_t>(extra) + static_cast<std::size_t>(c)];
        }
        if (g.alpha != nullptr) of_alpha[lane] = g.alpha[pixel];
        if (g.depth != nullptr) of_depth[lane] = g.depth[pixel];
      });
      if (with_depth_) {  // depth = sum_i w_i z_i / sum_i w_i: d depth / d w_i = (z_i - depth) / alpha
        const vfloat alpha = load(&frame_.coverage[at]);
        const mask hit = greater(alpha, vfloat{});
        of[channels_ - 1] = keep(hit, of_depth / select(hit, alpha, splat(1.f)));
        depth_[b] = load(&frame_.pixel_depth[at]);
      }
      vfloat behind = vfloat{} - of_alpha;
      for (int c = 0; c < 3; ++c) {
        behind += of[c] * background[c];
        of_background[c] += of[c] * t;
      }
      behind_[b] = t * behind;
    }
    const vfloat sums = sum_lanes(of_background, 3);
    for (int c = 0; c < 3; ++c) scratch_.background[static_cast<std::size_t>(tile_.index * 3 + c)] = static_cast<double>(sums[c]);
  }

  void walk() {
    for (int entry = frame_.tile_drawn[static_cast<std::size_t>(tile_.index)] - 1; entry >= tile_.begin; --entry) {
      prefetch(frame_, std::max(entry - kAhead, tile_.begin));
      if (frame_.tile_blocks[static_cast<std::size_t>(entry)] != 0) subtract(entry);
    }
  }

 private:
  void subtract(int entry) {
    const std::size_t rank = static_cast<std::size_t>(frame_.tile_rank[static_cast<std::size_t>(entry)]);
    const Splat s = frame_.splats[rank];
    const float* values = &frame_.values[rank * static_cast<std::size_t>(frame_.channels)];
    vfloat sums[kMoments] = {}, of_values[kChannels > 0 ? kChannels : kMaxChannels];
#pragma GCC unroll 16
    for (int c = 0; c < channels_; ++c) of_values[c] = vfloat{};
    for (BlockSet blocks = frame_.tile_blocks[static_cast<std::size_t>(entry)]; blocks != 0; blocks &= static_cast<BlockSet>(blocks - 1)) {
      const int b = __builtin_ctzll(blocks);
      const vfloat dx = x_[b] - s.x, v = s.l * dx, u = s.p * (y_[b] - s.y) + s.r * dx, log2_alpha = s.log2_opacity - v * v - u * u;
      const mask blended = at_least(log2_alpha, splat(kMinAlpha2)) & at_least(last_[b], splat_int(entry));
      const vfloat q = unblend(b, blended, log2_alpha, values, of_values);
      const vfloat qu = q * u, qv = q * v;
      sums[kQ] += q, sums[kQu] += qu, sums[kQv] += qv;
      sums[kQuu] += qu * u, sums[kQuv] += qu * v, sums[kQvv] += qv * v;
      sums[kAbsY] += absolute(qu);
      sums[kAbsX] += absolute(s.l * qv + s.r * qu);
    }
    record(entry, sums, of_values);
  }

  // Takes one contribution back out of a block: T, S become those before it; returns q = d loss / d ln alpha.
  vfloat unblend(int b, mask blended, vfloat log2_alpha, const float* values, vfloat* of_values) {
    vfloat alpha = exp2(log2_alpha);
    const mask free = blended & less(alpha, splat(kMaxAlpha));
    alpha = keep(blended, minimum(alpha, splat(kMaxAlpha)));
    const vfloat inverse = reciprocal(1.f - alpha);
    const vfloat t = select(blended, transmittance_[b] * inverse, transmittance_[b]);
    transmittance_[b] = t;
    const vfloat weight = alpha * t;
    const vfloat* g = gradient_ + b * channels_;
    vfloat here = dot(g, values);
    if (with_depth_) here -= g[channels_ - 1] * depth_[b];
#pragma GCC unroll 16
    for (int c = 0; c < channels_; ++c) of_values[c] += weight * g[c];
    const vfloat of_alpha = t * here - behind_[b] * inverse;
    behind_[b] += weight * here;
    return keep(free, alpha * of_alpha);
  }

  // sum_c g_c values_c in four interleaved sums where there are many: one long chain would wait for every addition.
  vfloat dot(const vfloat* g, const float* values) const {
    vfloat a = g[0] * values[0], b = g[1] * values[1];
    int c = 2;
    if (kChannels == 0) {
      vfloat d{}, e{};
      for (; c + 4 <= channels_; c += 4) {
        a += g[c] * values[c], b += g[c + 1] * values[c + 1];
        d += g[c + 2] * values[c + 2], e += g[c + 3] * values[c + 3];
      }
      a += d, b += e;
    }
#pragma GCC unroll 16
    for (; c < channels_; ++c) a += g[c] * values[c];
    return a + b;
  }

  void record(int entry, const vfloat* moments, const vfloat* of_values) {
    const std::size_t slot = static_cast<std::size_t>(frame_.tile_slot[static_cast<std::size_t>(entry)]);
    scratch_.touched[slot] = 1;
    float* to = &scratch_.records[slot * static_cast<std::size_t>(scratch_.record)];
    constexpr int kSums = kMoments + (kChannels > 0 ? kChannels : kMaxChannels);
    const int n = kMoments + channels_;
    vfloat sums[kSums];
#pragma GCC unroll 8
    for (int i = 0; i < kMoments; ++i) sums[i] = moments[i];
#pragma GCC unroll 16
    for (int i = 0; i < channels_; ++i) sums[kMoments + i] = of_values[i];
#pragma GCC unroll 5
    for (int i = 0; i < n; i += kLanes) store(to + i, sum_lanes(sums + i, n - i < kLanes ? n - i : kLanes));
  }

  const Frame& frame_;
  const TileView& tile_;
  BackwardScratch& scratch_;
  const int channels_;
  const bool with_depth_;
  vfloat x_[kBlocks], y_[kBlocks], transmittance_[kBlocks], behind_[kBlocks], depth_[kBlocks];
  vint last_[kBlocks];
  vfloat gradient_[(kChannels > 0 ? kChannels : kMaxChannels) * kBlocks];
};

}  // namespace

void draw_backward(const Frame& frame, const float* background, const ff_image_gradients& of_images, BackwardScratch& scratch) {
  const std::size_t slots = frame.intersections(), tiles = static_cast<std::size_t>(frame.tiles());
  scratch.channels = frame.channels - (of_images.depth == nullptr ? 1 : 0);
  scratch.record = (kMoments + scratch.channels + kLanes - 1) / kLanes * kLanes;
  scratch.records.resize(slots * static_cast<std::size_t>(scratch.record));
  std::memset(scratch.touched.resize(slots + 1), 0, slots + 1);
  scratch.background.resize(tiles * 3);
  with_channels(scratch.channels, [&](auto channels) {
    parallel_for(frame.tiles(), [&](int t) {
      const TileView tile(frame, frame.tile_order[static_cast<std::size_t>(t)]);
      TileGradient<decltype(channels)::value> gradient(frame, tile, scratch);
      gradient.load_images(background, of_images);
      gradient.walk();
    });
  });
}

}  // namespace fourfold
