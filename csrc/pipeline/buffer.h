// Buffer: growable, uninitialised bytes.
//
// Thread safety: none. Ownership: frees its memory when destroyed.
// Growth doubles; large blocks move by remapping pages, not by copying, where
// the C library does so. Contents beyond what was written are undefined.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "base/status.h"

namespace segue {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)),
        size_(std::exchange(other.size_, 0)),
        capacity_(std::exchange(other.capacity_, 0)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Buffer() { std::free(data_); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data_);
  }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

  Status Reserve(size_t capacity) {
    if (capacity <= capacity_) return Status();
    const size_t grown = std::max(capacity, capacity_ + capacity_ / 2 + 64);
    void* moved = std::realloc(data_, grown);
    if (moved == nullptr) {
      return Status::Memory("could not allocate " + std::to_string(grown) + " bytes; lower memory= or free some");
    }
    data_ = static_cast<uint8_t*>(moved);
    capacity_ = grown;
    return Status();
  }
  Status Resize(size_t size) {
    SEGUE_RETURN_IF_ERROR(Reserve(size));
    size_ = size;
    return Status();
  }
  // Room must have been reserved.
  void AppendUnchecked(const void* bytes, size_t n) {
    if (n != 0) std::memcpy(data_ + size_, bytes, n);
    size_ += n;
  }
  void SetSize(size_t size) { size_ = size; }
  void Free() { Buffer dropped = std::move(*this); }
  // Gives unused capacity back.
  void Shrink() {
    if (size_ == 0) {
      Free();
    } else if (void* moved = std::realloc(data_, size_); moved != nullptr) {
      data_ = static_cast<uint8_t*>(moved);
      capacity_ = size_;
    }
  }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace segue
