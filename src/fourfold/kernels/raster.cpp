// The C interface of the rasterizer, and the pool of frames that keeps memory between calls.

#include "raster.h"

#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "frame.h"
#include "points.h"

namespace fourfold {
namespace {

// Idle objects of one kind. A few are kept for the next calls, the rest go back to the system.
template <class T>
class Shelf {
 public:
  std::unique_ptr<T> take() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!idle_.empty()) {
        std::unique_ptr<T> object = std::move(idle_.back());
        idle_.pop_back();
        return object;
      }
    }
    return std::make_unique<T>();
  }

  void put(std::unique_ptr<T> object) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (idle_.size() < kKept) idle_.push_back(std::move(object));
  }

 private:
  static constexpr std::size_t kKept = 3;
  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> idle_;
};

// Never destroyed: threads of the interpreter may still give frames back while the process ends.
Shelf<Frame>& frames() {
  static auto* shelf = new Shelf<Frame>;
  return *shelf;
}
Shelf<BackwardScratch>& scratches() {
  static auto* shelf = new Shelf<BackwardScratch>;
  return *shelf;
}

}  // namespace
}  // namespace fourfold

using fourfold::Frame;

extern "C" {

void* ff_raster_forward(const ff_gaussians* gaussians, const ff_camera* camera, const float* background, const ff_images* images) {
  try {
    std::unique_ptr<Frame> frame = fourfold::frames().take();
    frame->camera = *camera;
    frame->channels = 3 + gaussians->channel_count + 1;
    frame->tiles_x = (camera->width + fourfold::kTile - 1) / fourfold::kTile;
    frame->tiles_y = (camera->height + fourfold::kTile - 1) / fourfold::kTile;
    fourfold::project(*frame, *gaussians, images->radius);
    fourfold::sort_by_depth(*frame);
    fourfold::bin_into_tiles(*frame);
    fourfold::draw(*frame, background, *images);
    return frame.release();
  } catch (const std::exception&) {
    return nullptr;
  }
}

int ff_raster_backward(void* handle, const ff_gaussians* gaussians, const float* background, const ff_image_gradients* of_images,
                       const ff_gradients* gradients) {
  return ff_raster_backward_with_points(handle, gaussians, background, of_images, gradients, nullptr);
}

int ff_raster_backward_with_points(void* handle, const ff_gaussians* gaussians, const float* background, const ff_image_gradients* of_images,
                                   const ff_gradients* gradients, const ff_points* points) {
  try {
    const Frame& frame = *static_cast<const Frame*>(handle);
    std::unique_ptr<fourfold::BackwardScratch> scratch = fourfold::scratches().take();
    fourfold::draw_backward(frame, background, *of_images, *scratch);
    if (points != nullptr) fourfold::draw_points_backward(frame, *points, *scratch);
    fourfold::project_backward(frame, *gaussians, *scratch, *gradients);
    fourfold::scratches().put(std::move(scratch));
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

int ff_points_forward(const void* frame, const ff_points* points, float* out) {
  try {
    fourfold::draw_points(*static_cast<const Frame*>(frame), *points, out);
    return 0;
  } catch (const std::exception&) {
    return 1;
  }
}

void ff_raster_free(void* frame) {
  if (frame != nullptr) fourfold::frames().put(std::unique_ptr<Frame>(static_cast<Frame*>(frame)));
}

void ff_raster_counts(const void* handle, std::int64_t counts[3]) {
  const Frame& frame = *static_cast<const Frame*>(handle);
  counts[0] = frame.visible;
  counts[1] = static_cast<std::int64_t>(frame.intersections());
  counts[2] = static_cast<std::int64_t>(frame.splats.bytes() + frame.values.bytes() + frame.keys.bytes() * 2 +
                                        frame.tile_row.bytes() * 2 + frame.transmittance.bytes() * 4);
}
}
