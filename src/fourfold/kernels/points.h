// What is blended at single positions of an image that was drawn; the rest of the interface is that of raster.h.
#pragma once

#include "frame.h"

extern "C" {

struct ff_points {
  std::int64_t count;      // P
  std::int32_t groups;     // K
  std::int32_t width;      // D; K D is at most 64
  const float* pixels;     // (P, 2) x, y; pixel centres at +0.5, read bilinearly, the border repeats
  const float* values;     // (K, N, D)
  const float* of_points;  // (P, K D + 1) gradient of what ff_points_forward wrote; backward only
  float* by_values;        // (K, N, D) or null, the gradient of the values, all written; backward only
};

// Writes (P, K D + 1): the blended values and the accumulated opacity at the points of the image that `frame` drew. 0, or 1 when memory ran out.
int ff_points_forward(const void* frame, const ff_points* points, float* out);

// ff_raster_backward with the gradient of the points on top of that of the images.
int ff_raster_backward_with_points(void* frame, const ff_gaussians* gaussians, const float* background, const ff_image_gradients* of_images,
                                   const ff_gradients* gradients, const ff_points* points);
}

namespace fourfold {

void draw_points(const Frame& frame, const ff_points& points, float* out);
void draw_points_backward(const Frame& frame, const ff_points& points, BackwardScratch& scratch);  // after draw_backward

}  // namespace fourfold
