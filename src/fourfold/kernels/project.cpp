// Projection of all Gaussians and culling of those that cannot touch a pixel.

#include "footprint.h"
#include "pool.h"

namespace fourfold {
namespace {

constexpr std::size_t kChunk = 512;

// Colour and channels of a Gaussian are finite: a NaN would poison every pixel it covers.
bool values_finite(const ff_gaussians& g, std::size_t i) {
  float sum = 0;
  for (int k = 0; k < 3; ++k) sum += g.color[3 * i + k] - g.color[3 * i + k];
  const std::size_t sh = g.sh_rest != nullptr ? static_cast<std::size_t>(g.sh_terms) * 3 : 0, extra = static_cast<std::size_t>(g.channel_count);
  for (std::size_t k = 0; k < sh; ++k) sum += g.sh_rest[i * sh + k] - g.sh_rest[i * sh + k];
  for (std::size_t k = 0; k < extra; ++k) sum += g.channels[i * extra + k] - g.channels[i * extra + k];
  return sum == 0.f;
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

int project_chunk(Frame& frame, const View& view, const ff_gaussians& g, std::size_t begin, std::size_t end, float* radius) {
  std::uint64_t* keys = frame.keys_swap.data() + begin;
  int kept = 0;
  for (std::size_t base = begin; base < end; base += kLanes) {
    const int n = static_cast<int>(end - base < kLanes ? end - base : kLanes);
    std::int32_t rows[kLanes];
    for (int i = 0; i < kLanes; ++i) rows[i] = static_cast<std::int32_t>(base) + i;
    const Shape shape(g, rows, n);
    vfloat out[13], size{};
    const mask seen = make_splats(view, frame.camera, shape, out, &size);
    for (int i = 0; i < n; ++i) {
      const std::size_t row = base + static_cast<std::size_t>(i);
      radius[row] = 0.f;
      if (!lane(seen, i) || !values_finite(g, row)) continue;
      float* to = &frame.unsorted[row].x;
      for (int k = 0; k < 13; ++k) to[k] = out[k][i];
      radius[row] = size[i];
      std::uint32_t depth_bits;  // positive floats order like their bits
      std::memcpy(&depth_bits, to + 12, sizeof depth_bits);
      keys[kept++] = static_cast<std::uint64_t>(depth_bits) << 32 | static_cast<std::uint32_t>(row);
    }
  }
  return kept;
}

}  // namespace

void project(Frame& frame, const ff_gaussians& g, float* radius) {
  const std::size_t n = static_cast<std::size_t>(g.count), chunks = (n + kChunk - 1) / kChunk;
  frame.count = g.count;
  frame.unsorted.resize(n);
  frame.keys_swap.resize(n);
  frame.chunk_counts.resize(chunks);
  const View view(frame.camera);
  parallel_chunks(n, kChunk, [&](int chunk, std::size_t begin, std::size_t end) {
    frame.chunk_counts[static_cast<std::size_t>(chunk)] = project_chunk(frame, view, g, begin, end, radius);
  });
  std::uint64_t* keys = frame.keys.resize(n);
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    const std::size_t kept = static_cast<std::size_t>(frame.chunk_counts[chunk]);
    std::memcpy(keys, frame.keys_swap.data() + chunk * kChunk, kept * sizeof *keys);
    keys += kept;
  }
  frame.visible = static_cast<int>(keys - frame.keys.data());
}

}  // namespace fourfold
