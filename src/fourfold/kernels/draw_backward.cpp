// The gradient of drawing: back to front through each tile, one record of moments per (tile, Gaussian) intersection.
//
// Records go to slots that are fixed by the input, never to shared sums, so the result does not depend on the threads. Few channels
// (a number known to the compiler) are summed over pixels like the moments; many are kept a second time with a pixel's channels side
// by side, so that their sums need no sum over lanes.

#include <type_traits>

#include "pool.h"
#include "tile.h"

namespace fourfold {
namespace {

constexpr int kMaxVectors = (kMaxChannels + kLanes - 1) / kLanes;

int vectors_of(int channels) { return (channels + kLanes - 1) / kLanes; }

// Many channels: d loss / d channel with the channels of a pixel in consecutive lanes, and the weights of one Gaussian in its blocks.
class ManyChannels {
 public:
  void start(int channels) { vectors_ = vectors_of(channels); }

  float* pixel(int block, int lane) { return reinterpret_cast<float*>(rows_ + (block * kLanes + lane) * vectors_); }
  void clear(int block) { std::fill_n(rows_ + block * kLanes * vectors_, kLanes * vectors_, vfloat{}); }

  void forget() { count_ = 0; }
  void add(int block, vfloat weight) {
    block_[count_] = block;
    store(weight_[count_++], weight);
  }

  // sum over pixels of weight times d loss / d channel, to[channel]; whole vectors are written.
  void sum(float* to) const {
    int first = 0;
    for (; first + 4 <= vectors_; first += 4) sum_vectors<4>(first, to + first * kLanes);
    switch (vectors_ - first) {
      case 1: return sum_vectors<1>(first, to + first * kLanes);
      case 2: return sum_vectors<2>(first, to + first * kLanes);
      case 3: return sum_vectors<3>(first, to + first * kLanes);
      default: return;
    }
  }

 private:
  template <int kVectors>
  void sum_vectors(int first, float* to) const {
    vfloat even[kVectors] = {}, odd[kVectors] = {};  // two sums: one would wait for every addition
    for (int k = 0; k < count_; ++k) {
      const vfloat* row = rows_ + block_[k] * kLanes * vectors_ + first;
      for (int lane = 0; lane < kLanes; lane += 2, row += 2 * vectors_) {
        for (int j = 0; j < kVectors; ++j) {
          even[j] += weight_[k][lane] * row[j];
          odd[j] += weight_[k][lane + 1] * row[vectors_ + j];
        }
      }
    }
    for (int j = 0; j < kVectors; ++j) store(to + j * kLanes, even[j] + odd[j]);
  }

  int vectors_ = 0, count_ = 0;
  int block_[kBlocks];
  alignas(64) float weight_[kBlocks][kLanes];
  vfloat rows_[kTilePixels * kMaxVectors];
};
struct FewChannels {};

template <int kChannels>  // 0: many
class TileGradient {
  static constexpr bool kMany = kChannels == 0;

 public:
  TileGradient(const Frame& frame, const TileView& tile, BackwardScratch& scratch)
      : frame_(frame), tile_(tile), scratch_(scratch), with_depth_(scratch.channels == frame.channels) {
    if constexpr (kMany) many_.start(channels());
  }

  // Loads d loss / d channel of every pixel, and starts S = T_final (sum_c g_c background_c - g_alpha): what light from behind is worth.
  void load_images(const float* background, const ff_image_gradients& g) {
    vfloat of_background[3] = {};
    for (int b = 0; b < kBlocks; ++b) {
      const std::size_t at = tile_.pixels + static_cast<std::size_t>(b * kLanes);
      const vfloat t = load(&frame_.transmittance[at]);
      std::memcpy(&last_[b], &frame_.pixel_last[at], sizeof last_[b]);
      transmittance_[b] = t;
      x_[b] = block_x(tile_, b), y_[b] = block_y(tile_, b);
      const vfloat of_alpha = load_channels(b, g);
      const vfloat* of = gradient_ + b * channels();
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
      const BlockSet blocks = frame_.tile_blocks[static_cast<std::size_t>(entry)];
      if (blocks != 0) subtract(entry, blocks);
    }
  }

 private:
  struct Taken {
    vfloat weight, q;  // alpha T, d loss / d ln alpha
  };

  int channels() const {
    if constexpr (kMany) return scratch_.channels;
    return kChannels;
  }

  // Returns the gradient of alpha.
  vfloat load_channels(int b, const ff_image_gradients& g) {
    const std::size_t extra = static_cast<std::size_t>(frame_.channels) - 4;
    const int depth = channels() - 1;  // where depth has a gradient
    alignas(64) float lanes[(kMany ? kMaxChannels : kChannels)][kLanes] = {}, alpha[kLanes] = {};
    for_rows(frame_, tile_, b, [&](int lane, std::size_t pixel, int width) {
      if (g.color != nullptr) {
        const float* from = g.color + pixel * 3;
        for_row(width, [&](int i) {
          for (int c = 0; c < 3; ++c) lanes[c][lane + i] = from[3 * i + c];
        });
      }
      if (g.channels != nullptr) {
        const float* from = g.channels + pixel * extra;
        for (int i = 0; i < width; ++i) {
          for (std::size_t c = 0; c < extra; ++c) lanes[3 + c][lane + i] = *from++;
        }
      }
      if (g.alpha != nullptr) for_row(width, [&](int i) { alpha[lane + i] = g.alpha[pixel + static_cast<std::size_t>(i)]; });
      if (with_depth_) for_row(width, [&](int i) { lanes[depth][lane + i] = g.depth[pixel + static_cast<std::size_t>(i)]; });
    });
    if (with_depth_) {  // depth = sum_i w_i z_i / sum_i w_i: d depth / d w_i = (z_i - depth) / alpha
      const std::size_t at = tile_.pixels + static_cast<std::size_t>(b * kLanes);
      const vfloat coverage = load(&frame_.coverage[at]);
      const mask hit = greater(coverage, vfloat{});
      store(lanes[depth], keep(hit, load(lanes[depth]) / select(hit, coverage, splat(1.f))));
      depth_[b] = load(&frame_.pixel_depth[at]);
    }
    for (int c = 0; c < channels(); ++c) gradient_[b * channels() + c] = load(lanes[c]);
    if constexpr (kMany) {
      many_.clear(b);
      for (int lane = 0; lane < kLanes; ++lane) {
        for (int c = 0; c < channels(); ++c) many_.pixel(b, lane)[c] = lanes[c][lane];
      }
    }
    return load(alpha);
  }

  void subtract(int entry, BlockSet blocks) {
    const std::size_t row = static_cast<std::size_t>(frame_.tile_row[static_cast<std::size_t>(entry)]);
    const Splat s = frame_.splats[row];
    const float* values = &frame_.values[row * static_cast<std::size_t>(frame_.channels)];
    vfloat sums[kMoments + kChannels] = {};
    if constexpr (kMany) many_.forget();
    for (; blocks != 0; blocks &= static_cast<BlockSet>(blocks - 1)) {
      const int b = __builtin_ctzll(blocks);
      const vfloat dx = x_[b] - s.x, v = s.l * dx, u = s.p * (y_[b] - s.y) + s.r * dx, log2_alpha = s.log2_opacity - v * v - u * u;
      const mask blended = at_least(log2_alpha, splat(kMinAlpha2)) & at_least(last_[b], splat_int(entry));
      const Taken taken = unblend(b, blended, log2_alpha, values);
      const vfloat q = taken.q, qu = q * u, qv = q * v;
      sums[kQ] += q, sums[kQu] += qu, sums[kQv] += qv;
      sums[kQuu] += qu * u, sums[kQuv] += qu * v, sums[kQvv] += qv * v;
      sums[kAbsY] += absolute(qu);
      sums[kAbsX] += absolute(s.l * qv + s.r * qu);
      if constexpr (kMany) {
        many_.add(b, taken.weight);
      } else {
        for (int c = 0; c < kChannels; ++c) sums[kMoments + c] += taken.weight * gradient_[b * kChannels + c];
      }
    }
    record(entry, sums);
  }

  // Takes one contribution back out of a block: T, S become those before it.
  Taken unblend(int b, mask blended, vfloat log2_alpha, const float* values) {
    vfloat alpha = exp2(log2_alpha);
    const mask free = blended & less(alpha, splat(kMaxAlpha));
    alpha = keep(blended, minimum(alpha, splat(kMaxAlpha)));
    const vfloat inverse = reciprocal(1.f - alpha);
    const vfloat t = select(blended, transmittance_[b] * inverse, transmittance_[b]);
    transmittance_[b] = t;
    const vfloat weight = alpha * t;
    const vfloat* g = gradient_ + b * channels();
    vfloat here = dot(g, values);
    if (with_depth_) here -= g[channels() - 1] * depth_[b];
    const vfloat of_alpha = t * here - behind_[b] * inverse;
    behind_[b] += weight * here;
    return {weight, keep(free, alpha * of_alpha)};
  }

  // sum_c g_c values_c in four interleaved sums where there are many: one long chain would wait for every addition.
  vfloat dot(const vfloat* g, const float* values) const {
    vfloat a = g[0] * values[0], b = g[1] * values[1];
    int c = 2;
    if constexpr (kMany) {
      vfloat d{}, e{};
      for (; c + 4 <= channels(); c += 4) {
        a += g[c] * values[c], b += g[c + 1] * values[c + 1];
        d += g[c + 2] * values[c + 2], e += g[c + 3] * values[c + 3];
      }
      a += d, b += e;
    }
    for (; c < channels(); ++c) a += g[c] * values[c];
    return a + b;
  }

  void record(int entry, const vfloat* sums) {
    const std::size_t slot = static_cast<std::size_t>(frame_.tile_slot[static_cast<std::size_t>(entry)]);
    scratch_.touched[slot] = 1;
    float* to = &scratch_.records[slot * static_cast<std::size_t>(scratch_.record)];
    constexpr int kSums = kMoments + kChannels;
#pragma GCC unroll 8
    for (int i = 0; i < kSums; i += kLanes) store(to + i, sum_lanes(sums + i, kSums - i < kLanes ? kSums - i : kLanes));
    if constexpr (kMany) many_.sum(to + kMoments);
  }

  const Frame& frame_;
  const TileView& tile_;
  BackwardScratch& scratch_;
  const bool with_depth_;
  vfloat x_[kBlocks], y_[kBlocks], transmittance_[kBlocks], behind_[kBlocks], depth_[kBlocks];
  vint last_[kBlocks];
  vfloat gradient_[(kMany ? kMaxChannels : kChannels) * kBlocks];
  std::conditional_t<kMany, ManyChannels, FewChannels> many_;
};

}  // namespace

void draw_backward(const Frame& frame, const float* background, const ff_image_gradients& of_images, BackwardScratch& scratch) {
  const std::size_t slots = frame.intersections(), tiles = static_cast<std::size_t>(frame.tiles());
  scratch.channels = frame.channels - (of_images.depth == nullptr ? 1 : 0);
  scratch.record = vectors_of(kMoments + vectors_of(scratch.channels) * kLanes) * kLanes;
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
