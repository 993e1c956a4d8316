// Nodes of a motion scaffold (spec mosca.md sections 6 and 8): their poses as dual quaternions, and how smoothly they move.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <new>

#include "buffer.h"
#include "quaternion.h"

namespace {

using fourfold::Buffer;
using fourfold::conjugate;
using fourfold::put;
using fourfold::Quat;
using fourfold::quat;
using fourfold::Vec;
using fourfold::vec;

constexpr std::size_t kDual = 8;
constexpr float kShort = 1e-12f;  // keeps the zero quaternion, and the gradient of a norm, finite

inline Quat scaled(float s, Quat q) { return {s * q.w, s * q.v}; }
inline float length_of(Quat q) { return std::max(std::sqrt(dot(q, q)), kShort); }
inline void add(float* to, Vec v) { put(to, vec(to) + v); }
inline void add(float* to, Quat q) { put(to, quat(to) + q); }
inline float norm(Vec v) { return std::sqrt(dot(v, v) + kShort); }

// An angle turned, 2 atan2(|v|, |w|), and what its gradient needs.
struct Turn {
  Quat turn;
  float sine, angle;

  Turn(Quat now, Quat before) : turn(now * conjugate(before)), sine(norm(turn.v)), angle(2.f * std::atan2(sine, std::fabs(turn.w))) {}

  // The gradient of the angle by `turn`.
  Quat slope() const {
    const float cosine = std::fabs(turn.w), squared = sine * sine + cosine * cosine;
    const float by_cosine = -2.f * sine / squared;
    return {turn.w > 0.f ? by_cosine : turn.w < 0.f ? -by_cosine : 0.f, (2.f * cosine / (squared * sine)) * turn.v};
  }
};

}  // namespace

extern "C" {

// Dual quaternions (count, 8) of x -> R(q) x + t of quaternions (count, 4) of any length and translations (count, 3).
void ff_pose_duals(const float* quats, const float* shifts, std::int64_t count, float* duals) {
  for (std::int64_t i = 0; i < count; ++i) {
    const Quat own = quat(quats + i * 4), unit = scaled(1.f / length_of(own), own);
    put(duals + i * kDual, unit);
    put(duals + i * kDual + 4, scaled(0.5f, Quat{0.f, vec(shifts + i * 3)} * unit));
  }
}

// The gradient of the dual quaternions to those of quaternions and translations.
void ff_pose_duals_backward(const float* quats, const float* shifts, std::int64_t count, const float* of, float* by_quats, float* by_shifts) {
  for (std::int64_t i = 0; i < count; ++i) {
    const Quat own = quat(quats + i * 4), dual = scaled(0.5f, quat(of + i * kDual + 4));
    const float length = length_of(own);
    const Quat unit = scaled(1.f / length, own);
    put(by_shifts + i * 3, (dual * conjugate(unit)).v);
    const Quat by_unit = quat(of + i * kDual) + Quat{0.f, -1.f * vec(shifts + i * 3)} * dual;
    put(by_quats + i * 4, scaled(1.f / length, by_unit + scaled(-dot(unit, by_unit), unit)));
  }
}

// The sum of the mean lengths of M nodes' steps between K knots, of the angles they turn, of their second differences and of the changes of those
// angles, with `weights` (4), and its gradients. `places` (K, M, 3), `quats` (K, M, 4) of unit length, K at least 3. 0, or 1 when memory ran out.
int ff_smooth_nodes(const float* places, const float* quats, std::int64_t knots, std::int64_t nodes, const float* weights, double* value, float* by_places,
                    float* by_quats) try {
  const auto count = static_cast<std::size_t>(knots), m = static_cast<std::size_t>(nodes);
  thread_local Buffer<float> kept_angles, kept_slopes;
  float *const angles = kept_angles.resize((count - 1) * m), *const slopes = kept_slopes.resize((count - 1) * m);
  std::fill_n(by_places, count * m * 3, 0.f);
  std::fill_n(by_quats, count * m * 4, 0.f);
  const float first = 1.f / static_cast<float>((count - 1) * m), second = 1.f / static_cast<float>((count - 2) * m);
  double step = 0, angle = 0, bend = 0, twist = 0;
  for (std::size_t i = 0; i < (count - 1) * m; ++i) {
    const Vec moved = vec(places + (i + m) * 3) - vec(places + i * 3);
    const float length = norm(moved);
    const Vec pull = (weights[0] * first / length) * moved;
    add(by_places + (i + m) * 3, pull);
    add(by_places + i * 3, -1.f * pull);
    step += length;
    angles[i] = Turn(quat(quats + (i + m) * 4), quat(quats + i * 4)).angle;
    slopes[i] = weights[1] * first;
    angle += angles[i];
  }
  for (std::size_t i = 0; i < (count - 2) * m; ++i) {
    const Vec bent = vec(places + (i + 2 * m) * 3) - 2.f * vec(places + (i + m) * 3) + vec(places + i * 3);
    const float length = norm(bent), change = angles[i + m] - angles[i];
    const Vec pull = (weights[2] * second / length) * bent;
    add(by_places + (i + 2 * m) * 3, pull);
    add(by_places + (i + m) * 3, -2.f * pull);
    add(by_places + i * 3, pull);
    bend += length;
    twist += std::fabs(change);
    const float side = change > 0.f ? weights[3] * second : change < 0.f ? -weights[3] * second : 0.f;
    slopes[i + m] += side;
    slopes[i] -= side;
  }
  for (std::size_t i = 0; i < (count - 1) * m; ++i) {
    const Quat now = quat(quats + (i + m) * 4), before = quat(quats + i * 4), by = scaled(slopes[i], Turn(now, before).slope());
    add(by_quats + (i + m) * 4, by * before);
    add(by_quats + i * 4, conjugate(conjugate(now) * by));
  }
  *value = (weights[0] * step + weights[1] * angle) * first + (weights[2] * bend + weights[3] * twist) * second;
  return 0;
} catch (const std::bad_alloc&) {
  return 1;
}
}
