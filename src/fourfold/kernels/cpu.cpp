// Which level of x86-64 (psABI: v2, v3, v4) the processor and the operating system allow, for systems that do not tell it in a file.
#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace {

constexpr std::uint64_t kVectorState = 0x06, kMaskState = 0xe6;  // of XCR0: what the system saves of AVX, and of AVX-512

struct Registers {
  std::uint32_t a = 0, b = 0, c = 0, d = 0;
  explicit Registers(std::uint32_t leaf) {
    if (!__get_cpuid_count(leaf, 0, &a, &b, &c, &d)) a = b = c = d = 0;
  }
};

std::uint64_t saved_state() {
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
}

bool all(std::uint32_t word, std::uint32_t bits) { return (word & bits) == bits; }

int level() {
  const Registers basic(1), wide(7), extended(0x80000001u);
  constexpr std::uint32_t v2 = 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23;  // SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT
  if (!all(basic.c, v2) || !all(extended.c, 1u)) return 1;                                      // LAHF
  constexpr std::uint32_t v3 = 1u << 12 | 1u << 22 | 1u << 27 | 1u << 28 | 1u << 29;            // FMA, MOVBE, OSXSAVE, AVX, F16C
  if (!all(basic.c, v3) || !all(wide.b, 1u << 3 | 1u << 5 | 1u << 8) || !all(extended.c, 1u << 5)) return 2;  // BMI1, AVX2, BMI2; LZCNT
  const std::uint64_t saved = saved_state();
  if ((saved & kVectorState) != kVectorState) return 2;
  constexpr std::uint32_t v4 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // AVX-512 F, DQ, CD, BW, VL
  return all(wide.b, v4) && (saved & kMaskState) == kMaskState ? 4 : 3;
}

}  // namespace

extern "C" int ff_x86_level(void) { return level(); }
#else
extern "C" int ff_x86_level(void) { return 0; }
#endif
