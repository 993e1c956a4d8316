// The rasterizer's plain C interface. All arrays are contiguous float32 unless said otherwise; lengths are in the structs.
#pragma once

#include <cstdint>

extern "C" {

struct ff_gaussians {
  std::int64_t count;         // N
  const float* means;         // (N, 3) world
  const float* quat;          // (N, 4) wxyz, any non-zero norm
  const float* log_scale;     // (N, 3)
  const float* opacity_logit; // (N)
  const float* visibility;    // (N) factor on the opacity, or null
  const float* color;         // (N, 3) RGB
  const float* sh_rest;       // (N, sh_terms, 3), or null
  const float* channels;      // (N, channel_count), or null
  std::int32_t sh_terms;      // 0, 3, 8 or 15
  std::int32_t channel_count; // 0 .. 64
};

struct ff_camera {
  float world_to_camera[16];  // row-major 4x4, OpenCV axes
  float fx, fy, cx, cy;       // pixels
  float near_plane;           // depth below which nothing is drawn
  float dilation;             // added to the screen covariance, square pixels
  std::int32_t width, height;
  std::int32_t antialias;     // multiply the opacity by sqrt(det / det dilated)
  std::int32_t depth_mode;    // 0 expected, 1 median, 2 first
};

struct ff_images {
  float* color;        // (H, W, 3)
  float* alpha;        // (H, W)
  float* depth;        // (H, W)
  float* channels;     // (H, W, channel_count) or null
  std::int32_t* top;   // (H, W) or null
  float* radius;       // (N)
};

struct ff_image_gradients {   // each may be null: zero
  const float* color;
  const float* alpha;
  const float* depth;
  const float* channels;
};

struct ff_gradients {         // each may be null: not wanted; otherwise every value is written
  float* means;
  float* quat;
  float* log_scale;
  float* opacity_logit;
  float* visibility;
  float* color;
  float* sh_rest;
  float* channels;
  float* background;       // (3)
  float* world_to_camera;  // (4, 4)
  float* screen;           // (N, 2)
  float* absolute_screen;  // (N, 2)
};

// Draws, and returns a handle for the backward pass and ff_raster_free, or null when memory ran out.
void* ff_raster_forward(const ff_gaussians* gaussians, const ff_camera* camera, const float* background, const ff_images* images);

// Gradients with the same gaussians, camera and background as the forward pass. May be called repeatedly. 0, or 1 when memory ran out.
int ff_raster_backward(void* frame, const ff_gaussians* gaussians, const float* background, const ff_image_gradients* of_images,
                       const ff_gradients* gradients);

// Gives the handle's memory back for reuse by later calls.
void ff_raster_free(void* frame);

// Work of the last forward pass: visible Gaussians, tile intersections, bytes held.
void ff_raster_counts(const void* frame, std::int64_t counts[3]);
}
