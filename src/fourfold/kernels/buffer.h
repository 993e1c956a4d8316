// A growing, uninitialised, 64-byte aligned array that keeps its memory between uses.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>
#include <utility>

#ifdef _WIN32
#include <malloc.h>
#endif

namespace fourfold {

// Memory whose address is a multiple of 64; `bytes` is one too. Null when there is none.
inline void* cache_lines(std::size_t bytes) {
#ifdef _WIN32
  return _aligned_malloc(bytes, 64);
#else
  return std::aligned_alloc(64, bytes);
#endif
}
inline void free_cache_lines(void* memory) {
#ifdef _WIN32
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

template <class T>
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { free_cache_lines(data_); }

  // Room for n values; what was there before is lost when it has to grow.
  T* resize(std::size_t n) {
    if (n > capacity_) {
      free_cache_lines(data_);
      data_ = nullptr;
      capacity_ = 0;
      const std::size_t wanted = n + n / 4;
      const std::size_t bytes = (wanted * sizeof(T) + 127) / 64 * 64;
      data_ = static_cast<T*>(cache_lines(bytes));
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = wanted;
    }
    size_ = n;
    return data_;
  }

  void swap(Buffer& other) {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }
  std::size_t size() const { return size_; }
  std::size_t bytes() const { return capacity_ * sizeof(T); }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
  std::size_t capacity_ = 0;
};

}  // namespace fourfold
