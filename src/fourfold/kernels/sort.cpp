// Stable radix sort of the visible Gaussians by depth: three passes of 11 bits over the depth's 32.

#include <vector>

#include "frame.h"
#include "pool.h"

namespace fourfold {
namespace {

constexpr int kBits = 11;
constexpr std::size_t kBuckets = std::size_t{1} << kBits;
constexpr std::size_t kSmall = 65536;  // below this the threads cost more than they bring

std::size_t digit(std::uint64_t key, int pass) { return static_cast<std::size_t>(key >> (32 + kBits * pass)) & (kBuckets - 1); }

}  // namespace

void sort_by_depth(Frame& frame) {
  const std::size_t n = static_cast<std::size_t>(frame.visible);
  frame.keys_swap.resize(frame.keys.size());
  const std::size_t parts = n < kSmall ? 1 : static_cast<std::size_t>(thread_count());
  const std::size_t part_size = (n + parts - 1) / parts;
  std::vector<std::uint32_t> offsets(parts * kBuckets);
  for (int pass = 0; pass < 3 && n > 0; ++pass) {
    const std::uint64_t* from = frame.keys.data();
    std::uint64_t* to = frame.keys_swap.data();
    parallel_chunks(n, part_size, [&](int part, std::size_t begin, std::size_t end) {
      std::uint32_t* histogram = &offsets[static_cast<std::size_t>(part) * kBuckets];
      std::memset(histogram, 0, kBuckets * sizeof *histogram);
      for (std::size_t i = begin; i < end; ++i) ++histogram[digit(from[i], pass)];
    });
    const std::size_t used = (n + part_size - 1) / part_size;
    std::uint32_t sum = 0;
    for (std::size_t bucket = 0; bucket < kBuckets; ++bucket) {
      for (std::size_t part = 0; part < used; ++part) {
        const std::uint32_t here = offsets[part * kBuckets + bucket];
        offsets[part * kBuckets + bucket] = sum;
        sum += here;
      }
    }
    parallel_chunks(n, part_size, [&](int part, std::size_t begin, std::size_t end) {
      std::uint32_t* place = &offsets[static_cast<std::size_t>(part) * kBuckets];
      for (std::size_t i = begin; i < end; ++i) to[place[digit(from[i], pass)]++] = from[i];
    });
    frame.keys.swap(frame.keys_swap);
  }
}

}  // namespace fourfold
