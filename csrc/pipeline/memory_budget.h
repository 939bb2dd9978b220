// MemoryBudget counts the anonymous memory of one job: runs, sort scratch,
// block buffers, output batches, dimension tables.
//
// Thread safety: all methods.
// Invariants: used() is the sum of what live owners added; peak() its maximum.
// The budget counts, it does not refuse: RunGenerator decides when to spill.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace segue {

class MemoryBudget {
 public:
  explicit MemoryBudget(uint64_t limit) : limit_(limit) {}

  void Add(uint64_t bytes) {
    const uint64_t now = used_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    uint64_t peak = peak_.load(std::memory_order_relaxed);
    while (now > peak && !peak_.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
    }
  }
  void Subtract(uint64_t bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  uint64_t limit() const { return limit_; }
  uint64_t used() const { return used_.load(std::memory_order_relaxed); }
  uint64_t peak() const { return peak_.load(std::memory_order_relaxed); }

 private:
  const uint64_t limit_;
  std::atomic<uint64_t> used_{0};
  std::atomic<uint64_t> peak_{0};
};

// A number of bytes counted against a budget (null: counted nowhere) until
// resized or destroyed. The budget must outlive it.
class Reservation {
 public:
  Reservation() = default;
  explicit Reservation(MemoryBudget* budget) : budget_(budget) {}
  Reservation(Reservation&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
  Reservation& operator=(Reservation&& other) noexcept {
    if (this != &other) {
      Resize(0);
      budget_ = std::exchange(other.budget_, nullptr);
      bytes_ = std::exchange(other.bytes_, 0);
    }
    return *this;
  }
  ~Reservation() { Resize(0); }

  void Resize(uint64_t bytes) {
    if (budget_ != nullptr) {
      if (bytes > bytes_) budget_->Add(bytes - bytes_);
      if (bytes < bytes_) budget_->Subtract(bytes_ - bytes);
    }
    bytes_ = bytes;
  }
  uint64_t bytes() const { return bytes_; }

 private:
  MemoryBudget* budget_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace segue
