// What one forward pass leaves for the backward pass, and the geometry of tiles and blocks.
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "buffer.h"
#include "raster.h"
#include "simd.h"

namespace fourfold {

constexpr int kTile = 16;  // tiles of 16 x 16 pixels
// One vector covers a block of pixels two rows high: more lanes are useful than in a single row.
constexpr int kBlockHeight = 2;
constexpr int kBlockWidth = kLanes / kBlockHeight;
constexpr int kBlockColumns = kTile / kBlockWidth;
constexpr int kBlockRows = kTile / kBlockHeight;
constexpr int kBlocks = kBlockColumns * kBlockRows;  // block index: column * kBlockRows + row
constexpr int kTilePixels = kTile * kTile;
using BlockSet = std::conditional_t<kBlocks <= 16, std::uint16_t, std::conditional_t<kBlocks <= 32, std::uint32_t, std::uint64_t>>;  // bit b: block b
static_assert(kBlocks <= 64, "blocks of a tile fit a word");
constexpr int kMaxChannels = 3 + 64 + 1;  // colour, extra, depth

constexpr float kMinAlpha2 = -7.99435343685886f;  // log2(1 / 255): weaker contributions are skipped
constexpr float kMaxAlpha = 0.999f;
constexpr float kMinTransmittance = 1e-4f;        // a pixel is finished before its transmittance would fall to this

// A projected Gaussian. With d = pixel - centre, its alpha is 2^(log2_opacity - v^2 - u^2), v = l dx, u = p dy + r dx:
// a scaled Cholesky factor of the inverse covariance, so that the exponent never exceeds log2_opacity by cancellation.
struct Splat {
  float x, y;
  float l, p, r;
  float log2_opacity;
  float extent_x, extent_y;  // half sizes of the bounding box of {alpha >= 1/255}
  float slope_y, chord_y;    // at offset dx the ellipse is centred on dy = slope_y dx; chord_y is its half height at dx = 0
  float slope_x, chord_x;    // the same along x
  float depth;
  float padding[3];
};
static_assert(sizeof(Splat) == 64, "one cache line");

// Neighbouring tiles of one row of tiles, as indices.
struct Span {
  std::int32_t first, last;
};

constexpr std::size_t kProjectChunk = 512;  // Gaussians projected together

// The input row in a key.
inline std::size_t row_of(std::uint64_t key) { return static_cast<std::uint32_t>(key); }

struct Frame {
  ff_camera camera{};
  std::int64_t count = 0;       // Gaussians given
  int visible = 0;              // Gaussians kept
  int channels = 0;             // colour + extra + depth
  int tiles_x = 0, tiles_y = 0;

  // By input row; splats and values of what is not kept are not written.
  Buffer<Splat> splats;             // (N)
  Buffer<float> values;             // (N, channels) what is blended
  Buffer<std::int32_t> first_slot;  // (N + 1) intersections in order of row, then tile: the reduce order; none of what is not kept
  Buffer<std::uint64_t> keys;       // (visible) depth and row, sorted by depth

  Buffer<std::int32_t> tile_begin;  // (tiles + 1)
  Buffer<std::int32_t> tile_row;    // (intersections) input rows of a tile, front to back
  Buffer<std::int32_t> tile_slot;   // (intersections) slot of each entry
  Buffer<std::int32_t> tile_order;  // (tiles) largest first
  Buffer<std::int32_t> tile_drawn;  // (tiles) end of the entries that were looked at before the tile was full
  Buffer<BlockSet> tile_blocks;     // (intersections) blocks of the tile that each of these entries was blended into
  Buffer<float> transmittance;      // (tiles, blocks, lanes) final
  Buffer<float> coverage;           // (tiles, blocks, lanes) alpha as a sum of weights: exact where it is small, unlike 1 - transmittance
  Buffer<float> pixel_depth;        // (tiles, blocks, lanes) expected depth
  Buffer<std::int32_t> pixel_last;  // (tiles, blocks, lanes) last entry blended, or -1

  // Scratch of the forward pass.
  Buffer<std::uint64_t> keys_swap;
  Buffer<std::int32_t> chunk_counts;
  Buffer<std::int32_t> tile_counts;
  Buffer<std::int32_t> first_span;        // (N) of each row kept, within its chunk
  std::vector<std::vector<Span>> spans;   // tiles touched by the Gaussians of each chunk of the projection, rows of tiles one by one

  int tiles() const { return tiles_x * tiles_y; }
  std::size_t intersections() const { return static_cast<std::size_t>(tile_begin[tiles()]); }
};

// x, y offset of each lane within its block.
inline vfloat lane_x() {
  vfloat v{};
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(i % kBlockWidth);
  return v;
}
inline vfloat lane_y() {
  vfloat v{};
  for (int i = 0; i < kLanes; ++i) v[i] = static_cast<float>(i / kBlockWidth);
  return v;
}

// The stages, each parallel and each independent of the number of threads.
void project(Frame& frame, const ff_gaussians& gaussians, float* radius);  // fills splats, values, slots, spans, keys
void sort_by_depth(Frame& frame);                                          // orders keys
void bin_into_tiles(Frame& frame);                                         // fills tiles
void draw(Frame& frame, const float* background, const ff_images& images);  // the image

struct BackwardScratch {
  int record = 0;               // floats per intersection: 8 moments, then one per channel, padded to whole vectors
  int channels = 0;             // channels with a gradient (the last, depth, is left out when nobody asked)
  Buffer<float> records;        // (intersections, record)
  Buffer<std::uint8_t> touched; // (intersections)
  Buffer<double> background;    // (tiles, 3)
  Buffer<double> pose;          // (chunks, 12)
};

// Moments of one record, q = d loss / d ln alpha summed over pixels; then channels.
enum Moment { kQ, kQv, kQu, kQvv, kQuv, kQuu, kAbsX, kAbsY, kMoments };

constexpr int kMaxRecord = (kMoments + (kMaxChannels + kLanes - 1) / kLanes * kLanes + kLanes - 1) / kLanes * kLanes;

void draw_backward(const Frame& frame, const float* background, const ff_image_gradients& of_images, BackwardScratch& scratch);
void project_backward(const Frame& frame, const ff_gaussians& gaussians, BackwardScratch& scratch, const ff_gradients& gradients);

}  // namespace fourfold
