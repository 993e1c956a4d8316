// A greedy cover of cells by groups of them, one group after the other.
#include <cstdint>

extern "C" {

// Groups g of `order` (count), whose cells are cells[first[g]] to cells[first[g + 1] - 1], no cell twice: one is kept where at least `share` of its cells,
// or more than that with `strictly`, are in fewer than `per` groups that were kept before it. `held` is zero for every cell at first.
void ff_cover(const std::int64_t* order, std::int64_t count, const std::int64_t* first, const std::int64_t* cells, std::int64_t per, float share,
              std::int64_t strictly, std::int64_t* held, std::uint8_t* kept) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t group = order[i], begin = first[group], end = first[group + 1];
    std::int64_t open = 0;
    for (std::int64_t c = begin; c < end; ++c) open += held[cells[c]] < per ? 1 : 0;
    const float wanted = share * static_cast<float>(end - begin), found = static_cast<float>(open);
    kept[group] = strictly != 0 ? found > wanted : found >= wanted;
    if (kept[group] == 0) continue;
    for (std::int64_t c = begin; c < end; ++c) ++held[cells[c]];
  }
}
}
