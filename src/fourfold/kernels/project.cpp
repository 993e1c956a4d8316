// Projection of all Gaussians, culling of those that cannot touch a pixel, and what the others are drawn with: values and tiles.

#include <limits>
#include <stdexcept>

#include "footprint.h"
#include "pool.h"
#include "spans.h"
#include "spherical_harmonics.h"

namespace fourfold {
namespace {

// Colour and channels of a Gaussian are finite: a NaN would poison every pixel it covers.
bool values_finite(const ff_gaussians& g, std::size_t i) {
  float sum = 0;
  for (int k = 0; k < 3; ++k) sum += g.color[3 * i + k] - g.color[3 * i + k];
  const std::size_t sh = g.sh_rest != nullptr ? static_cast<std::size_t>(g.sh_terms) * 3 : 0, extra = static_cast<std::size_t>(g.channel_count);
  for (std::size_t k = 0; k < sh; ++k) sum += g.sh_rest[i * sh + k] - g.sh_rest[i * sh + k];
  for (std::size_t k = 0; k < extra; ++k) sum += g.channels[i * extra + k] - g.channels[i * extra + k];
  return sum == 0.f;
}

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

// The splats of kLanes Gaussians; returns which of them can be seen.
mask make_splats(const View& view, const ff_camera& camera, const Shape& shape, vfloat out[13], vfloat* radius) {
  const Footprint f(view, shape);
  const vfloat x = view.fx * f.point[0] * f.inverse_z + view.cx, y = view.fy * f.point[1] * f.inverse_z + view.cy;
  const vfloat opacity = shape.opacity * shape.visibility * f.compensation;
  mask seen = shape.valid & greater(f.point[2], splat(view.near_plane)) & at_least(opacity, splat(1.f / 255.f)) & greater(f.det, vfloat{});
  seen = seen & finite(x) & finite(y) & finite(f.xx * f.yy) & finite(f.det) & finite(opacity) & finite(f.inverse_norm);
  if (!any(seen)) return seen;

  const vfloat log2_opacity = log2(select(seen, opacity, splat(1.f)));
  // {alpha >= 1/255} is the ellipse d^T Sigma^-1 d <= q; a margin keeps pixels that rounding would lose.
  const vfloat q = (log2_opacity - kMinAlpha2) * (2.f * 0.69314718f) * 1.0001f + 1e-5f;
  const vfloat extent_x = square_root(q * f.xx), extent_y = square_root(q * f.yy);
  seen = seen & at_least(x + extent_x, splat(0.5f)) & at_least(splat(static_cast<float>(camera.width) - 0.5f), x - extent_x);
  seen = seen & at_least(y + extent_y, splat(0.5f)) & at_least(splat(static_cast<float>(camera.height) - 0.5f), y - extent_y);

  const float half_log2e = 0.72134752044f;
  const vfloat inverse_xx = 1.f / f.xx, det_over_xx = f.det * inverse_xx;
  out[0] = x, out[1] = y;
  out[2] = square_root(half_log2e * inverse_xx);       // l
  out[3] = square_root(half_log2e / det_over_xx);      // p
  out[4] = vfloat{} - out[3] * f.xy * inverse_xx;      // r
  out[5] = log2_opacity;
  out[6] = extent_x, out[7] = extent_y;
  out[8] = f.xy * inverse_xx;                          // slope_y
  out[9] = square_root(q * det_over_xx);               // chord_y
  out[10] = f.xy / f.yy;                               // slope_x
  out[11] = square_root(q * f.det / f.yy);             // chord_x
  out[12] = f.point[2];
  const vfloat middle = 0.5f * (f.xx + f.yy), half = 0.5f * (f.xx - f.yy);
  *radius = 3.f * square_root(middle + square_root(half * half + f.xy * f.xy));
  return seen;
}

class Projector {
 public:
  Projector(Frame& frame, const ff_gaussians& g, float* radius) : frame_(frame), g_(g), radius_(radius), view_(frame.camera) { view_.center(center_); }

  // Rows [begin, end); their keys go to keys_swap from `begin` on. Returns how many are kept.
  int project(std::size_t begin, std::size_t end, std::vector<Span>& spans) const {
    std::uint64_t* keys = frame_.keys_swap.data() + begin;
    int kept = 0;
    spans.clear();
    for (std::size_t base = begin; base < end; base += kLanes) {
      const int n = static_cast<int>(end - base < kLanes ? end - base : kLanes);
      std::int32_t rows[kLanes];
      for (int i = 0; i < kLanes; ++i) rows[i] = static_cast<std::int32_t>(base) + i;
      const Shape shape(g_, rows, n);
      vfloat out[13], size{};
      const mask seen = make_splats(view_, frame_.camera, shape, out, &size);
      for (int i = 0; i < n; ++i) {
        const std::size_t row = base + static_cast<std::size_t>(i);
        radius_[row] = 0.f;
        frame_.first_slot[row] = 0;
        if (!lane(seen, i) || !values_finite(g_, row)) continue;
        float* to = &frame_.splats[row].x;
        for (int k = 0; k < 13; ++k) to[k] = out[k][i];
        radius_[row] = size[i];
        keys[kept++] = keep(row, spans);
      }
    }
    return kept;
  }

 private:
  // Values, spans and number of tiles of a Gaussian that may be seen; returns its key.
  std::uint64_t keep(std::size_t row, std::vector<Span>& spans) const {
    const Splat& s = frame_.splats[row];
    pack_values(g_, row, center_, s.depth, &frame_.values[row * static_cast<std::size_t>(frame_.channels)]);
    frame_.first_span[row] = static_cast<std::int32_t>(spans.size());
    frame_.first_slot[row] = TileRows(frame_, s).append(spans);
    std::uint32_t depth_bits;  // positive floats order like their bits
    std::memcpy(&depth_bits, &s.depth, sizeof depth_bits);
    return static_cast<std::uint64_t>(depth_bits) << 32 | static_cast<std::uint32_t>(row);
  }

  Frame& frame_;
  const ff_gaussians& g_;
  float* radius_;
  const View view_;
  float center_[3];
};

// From numbers of intersections to where those of each row begin.
void place_slots(Frame& frame, std::size_t n) {
  std::int64_t slot = 0;
  for (std::size_t row = 0; row < n; ++row) {
    const std::int32_t here = frame.first_slot[row];
    frame.first_slot[row] = static_cast<std::int32_t>(slot);
    slot += here;
  }
  if (slot > std::numeric_limits<std::int32_t>::max()) throw std::length_error("more intersections than a list can hold");
  frame.first_slot[n] = static_cast<std::int32_t>(slot);
}

}  // namespace

void project(Frame& frame, const ff_gaussians& g, float* radius) {
  const std::size_t n = static_cast<std::size_t>(g.count), chunks = (n + kProjectChunk - 1) / kProjectChunk;
  frame.count = g.count;
  frame.splats.resize(n);
  frame.values.resize(n * static_cast<std::size_t>(frame.channels));
  frame.first_slot.resize(n + 1);
  frame.first_span.resize(n);
  frame.keys_swap.resize(n);
  frame.chunk_counts.resize(chunks);
  if (frame.spans.size() < chunks) frame.spans.resize(chunks);
  const Projector projector(frame, g, radius);
  parallel_chunks(n, kProjectChunk, [&](int chunk, std::size_t begin, std::size_t end) {
    const std::size_t at = static_cast<std::size_t>(chunk);
    frame.chunk_counts[at] = projector.project(begin, end, frame.spans[at]);
  });
  std::uint64_t* keys = frame.keys.resize(n);
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    const std::size_t kept = static_cast<std::size_t>(frame.chunk_counts[chunk]);
    std::memcpy(keys, frame.keys_swap.data() + chunk * kProjectChunk, kept * sizeof *keys);
    keys += kept;
  }
  frame.visible = static_cast<int>(keys - frame.keys.data());
  place_slots(frame, n);
}

}  // namespace fourfold
