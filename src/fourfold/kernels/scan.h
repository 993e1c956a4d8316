// Products and sums over the lanes of a vector, up to every lane and from every lane on.
#pragma once

#include <utility>

#include "simd.h"

namespace fourfold {

// Lanes i + K (or i - K) of `v` in lanes i, those of `fill` where there is none.
template <int K, int... I>
inline vfloat shifted(vfloat v, vfloat fill, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(v, fill, (I + K >= 0 && I + K < kLanes ? I + K : kLanes + I)...);
}
template <int K>
inline vfloat shifted(vfloat v, vfloat fill) {
  return shifted<K>(v, fill, std::make_integer_sequence<int, kLanes>());
}

// Products of lanes 0 .. i; products and sums of lanes i .. the last.
template <int K = 1>
inline vfloat products_until(vfloat v) {
  if constexpr (K >= kLanes) return v;
  else return products_until<2 * K>(v * shifted<-K>(v, splat(1.f)));
}
template <int K = 1>
inline vfloat products_from(vfloat v) {
  if constexpr (K >= kLanes) return v;
  else return products_from<2 * K>(v * shifted<K>(v, splat(1.f)));
}
template <int K = 1>
inline vfloat sums_from(vfloat v) {
  if constexpr (K >= kLanes) return v;
  else return sums_from<2 * K>(v + shifted<K>(v, vfloat{}));
}

}  // namespace fourfold
