// Vectors of one register's width: GCC/Clang vector extensions, with intrinsics only where the extensions compile badly.
//
// The width must be that of the instruction set: GCC 12 splits 64-byte vectors into scalars when it compiles for AVX2.
// On AVX-512 a comparison yields a bit mask, elsewhere a vector of 0 / -1; `mask` hides the difference.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#define FOURFOLD_NEON 1
#endif

namespace fourfold {

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define FOURFOLD_AVX512 1
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float vfloat __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t vint __attribute__((vector_size(kLanes * 4)));

inline vfloat splat(float x) { return x - vfloat{}; }
inline vint splat_int(std::int32_t x) { return x - vint{}; }

inline vfloat load(const float* from) {
  vfloat v;
  std::memcpy(&v, from, sizeof v);
  return v;
}
inline void store(float* to, vfloat v) { std::memcpy(to, &v, sizeof v); }

#ifdef FOURFOLD_AVX512

typedef __mmask16 mask;
inline mask at_least(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
inline mask greater(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ); }
inline mask less(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_LT_OQ); }
inline mask at_least(vint a, vint b) { return _mm512_cmp_epi32_mask((__m512i)a, (__m512i)b, _MM_CMPINT_NLT); }
inline bool any(mask m) { return m != 0; }
inline bool lane(mask m, int i) { return m >> i & 1; }
inline int count(mask m) { return __builtin_popcount(m); }
inline unsigned bits(mask m) { return m; }
inline vfloat select(mask m, vfloat a, vfloat b) { return (vfloat)_mm512_mask_mov_ps((__m512)b, m, (__m512)a); }
inline vint select(mask m, vint a, vint b) { return (vint)_mm512_mask_mov_epi32((__m512i)b, m, (__m512i)a); }
inline vfloat keep(mask m, vfloat a) { return (vfloat)_mm512_maskz_mov_ps(m, (__m512)a); }
inline vfloat minimum(vfloat a, vfloat b) { return (vfloat)_mm512_min_ps((__m512)a, (__m512)b); }
inline vfloat maximum(vfloat a, vfloat b) { return (vfloat)_mm512_max_ps((__m512)a, (__m512)b); }
inline vfloat absolute(vfloat a) { return (vfloat)_mm512_abs_ps((__m512)a); }
inline vfloat square_root(vfloat a) { return (vfloat)_mm512_sqrt_ps((__m512)a); }
// 1 / a to about one unit in the last place: the 14-bit estimate and one Newton step r (2 - a r).
inline vfloat reciprocal(vfloat a) {
  const __m512 r = _mm512_rcp14_ps((__m512)a);
  return (vfloat)_mm512_mul_ps(r, _mm512_fnmadd_ps((__m512)a, r, _mm512_set1_ps(2.f)));
}
inline vfloat round_nearest(vfloat a) { return (vfloat)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline vfloat round_down(vfloat a) { return (vfloat)_mm512_roundscale_ps((__m512)a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); }
inline vfloat scale_by_power(vfloat a, vfloat whole) { return (vfloat)_mm512_scalef_ps((__m512)a, (__m512)whole); }

#else

typedef vint mask;
inline mask at_least(vfloat a, vfloat b) { return a >= b; }
inline mask greater(vfloat a, vfloat b) { return a > b; }
inline mask less(vfloat a, vfloat b) { return a < b; }
inline mask at_least(vint a, vint b) { return a >= b; }
// Bit i: lane i.
#if defined(__AVX2__)
inline unsigned bits(mask m) { return static_cast<unsigned>(_mm256_movemask_ps((__m256)m)); }
inline bool any(mask m) { return bits(m) != 0; }
#elif defined(__SSE2__)
inline unsigned bits(mask m) { return static_cast<unsigned>(_mm_movemask_ps((__m128)m)); }
inline bool any(mask m) { return bits(m) != 0; }
#elif defined(FOURFOLD_NEON)
inline unsigned bits(mask m) { return vaddvq_u32((uint32x4_t)(m & vint{1, 2, 4, 8})); }
inline bool any(mask m) { return vmaxvq_u32((uint32x4_t)m) != 0; }
#else
inline unsigned bits(mask m) {
  unsigned joined = 0;
  for (int i = 0; i < kLanes; ++i) joined |= static_cast<unsigned>(m[i] & 1) << i;
  return joined;
}
inline bool any(mask m) { return bits(m) != 0; }
#endif
inline bool lane(mask m, int i) { return m[i] != 0; }
inline int count(mask m) {
  int n = 0;
  for (int i = 0; i < kLanes; ++i) n -= m[i];
  return n;
}
inline vfloat select(mask m, vfloat a, vfloat b) { return m ? a : b; }
inline vint select(mask m, vint a, vint b) { return m ? a : b; }
inline vfloat keep(mask m, vfloat a) { return (vfloat)((vint)a & m); }
// GCC makes a comparison and a blend of the conditional; these are one instruction.
#if defined(__AVX2__)
inline vfloat minimum(vfloat a, vfloat b) { return (vfloat)_mm256_min_ps((__m256)a, (__m256)b); }
inline vfloat maximum(vfloat a, vfloat b) { return (vfloat)_mm256_max_ps((__m256)a, (__m256)b); }
#elif defined(__SSE2__)
inline vfloat minimum(vfloat a, vfloat b) { return (vfloat)_mm_min_ps((__m128)a, (__m128)b); }
inline vfloat maximum(vfloat a, vfloat b) { return (vfloat)_mm_max_ps((__m128)a, (__m128)b); }
#elif defined(FOURFOLD_NEON)
// The forms that pass over a NaN in `a`, as those of x86 do; plain FMIN and FMAX would keep it.
inline vfloat minimum(vfloat a, vfloat b) { return (vfloat)vminnmq_f32((float32x4_t)a, (float32x4_t)b); }
inline vfloat maximum(vfloat a, vfloat b) { return (vfloat)vmaxnmq_f32((float32x4_t)a, (float32x4_t)b); }
#else
inline vfloat minimum(vfloat a, vfloat b) { return a < b ? a : b; }
inline vfloat maximum(vfloat a, vfloat b) { return a > b ? a : b; }
#endif
inline vfloat absolute(vfloat a) { return (vfloat)((vint)a & splat_int(0x7fffffff)); }
inline vfloat square_root(vfloat a) {
#if defined(__AVX2__)
  return (vfloat)_mm256_sqrt_ps((__m256)a);
#elif defined(__SSE2__)
  return (vfloat)_mm_sqrt_ps((__m128)a);
#elif defined(FOURFOLD_NEON)
  return (vfloat)vsqrtq_f32((float32x4_t)a);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = std::sqrt(a[i]);
  return a;
#endif
}
inline vfloat reciprocal(vfloat a) { return 1.f / a; }
inline vfloat round_down(vfloat a) {
#if defined(__AVX2__)
  return (vfloat)_mm256_floor_ps((__m256)a);
#elif defined(__SSE4_1__)
  return (vfloat)_mm_floor_ps((__m128)a);
#elif defined(FOURFOLD_NEON)
  return (vfloat)vrndmq_f32((float32x4_t)a);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = std::floor(a[i]);
  return a;
#endif
}
#if defined(FOURFOLD_NEON)
inline vfloat round_nearest(vfloat a) { return (vfloat)vrndnq_f32((float32x4_t)a); }
inline vfloat scale_by_power(vfloat a, vfloat whole) { return (vfloat)((vint)a + ((vint)vcvtq_s32_f32((float32x4_t)whole) << 23)); }
#else
// Adding 1.5 * 2^23 pushes the fraction out of the mantissa; good for |a| < 2^22.
inline vfloat round_nearest(vfloat a) {
  const float shift = 12582912.f;
  return (a + shift) - shift;
}
inline vfloat scale_by_power(vfloat a, vfloat whole) {
  const vint exponent = (vint)(whole + 12582912.f) << 23;  // the low bits of the shifted sum hold the integer
  return (vfloat)((vint)a + exponent);
}
#endif

#endif

// std::fmin is a library call here, because it must treat NaN as missing; these are single instructions.
inline float smaller(float a, float b) { return a < b ? a : b; }
inline float larger(float a, float b) { return a > b ? a : b; }

inline mask finite(vfloat x) { return at_least(x - x, vfloat{}); }

// 2^f on [-1/2, 1/2], minimax of degree 5, relative error 2e-7.
inline vfloat exp2_fraction(vfloat f) {
  vfloat p = f * 1.33336e-3f + 9.61813e-3f;
  p = p * f + 5.550411e-2f;
  p = p * f + 2.4022651e-1f;
  p = p * f + 6.9314718e-1f;
  return p * f + 1.f;
}

// 2^e for -126 <= e <= 127.
inline vfloat exp2(vfloat e) {
  const vfloat whole = round_nearest(e);
  return scale_by_power(exp2_fraction(e - whole), whole);
}

// e^x, x clamped to [-87, 88]; the argument is reduced with ln 2 in two parts so that large |x| keep full precision.
inline vfloat exp(vfloat x) {
  x = minimum(maximum(x, splat(-87.f)), splat(88.f));
  const vfloat whole = round_nearest(x * 1.44269504f);
  const vfloat rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 = 0.693359375 - 2.1219444e-4
  vfloat p = rest * 1.9875691500e-4f + 1.3981999507e-3f;                    // Cephes expf polynomial
  p = p * rest + 8.3334519073e-3f;
  p = p * rest + 4.1665795894e-2f;
  p = p * rest + 1.6666665459e-1f;
  p = p * rest + 5.0000001201e-1f;
  return scale_by_power(p * rest * rest + rest + 1.f, whole);
}

inline vfloat log2(vfloat x) {
  for (int i = 0; i < kLanes; ++i) x[i] = std::log2(x[i]);
  return x;
}


namespace detail {

// Lanes of `a` and `b` pairwise: sums of neighbours of a in the lower half of the result, of b in the upper half.
inline vfloat add_neighbours(vfloat a, vfloat b) {
#if defined(FOURFOLD_AVX512)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
         __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14) + __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
#elif defined(FOURFOLD_NEON)
  return (vfloat)vpaddq_f32((float32x4_t)a, (float32x4_t)b);
#else
  return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
#endif
}

template <int kCount>
inline vfloat sum_tree(const vfloat* v, int n) {
  if constexpr (kCount == 1) {
    return n > 0 ? v[0] : vfloat{};
  } else {
    constexpr int half = kCount / 2;
    return add_neighbours(sum_tree<half>(v, n), sum_tree<half>(v + half, n - half));
  }
}

}  // namespace detail

// The sums over lanes of v[0..n), n <= kLanes, in the lanes of one vector (0 beyond n).
inline vfloat sum_lanes(const vfloat* v, int n) { return detail::sum_tree<kLanes>(v, n); }

}  // namespace fourfold
