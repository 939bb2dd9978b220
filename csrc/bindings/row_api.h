// The C function table through which the Cython row path calls the core, so
// that the core is linked once (into _engine) and a call costs no argument
// casting. _engine exports it as the capsule "segue._engine.row_api".
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

extern "C" {

struct _object;  // PyObject, without Python.h

// `row` is one packed row (events/row_format.h). All are thread-safe. Those that
// return int give 0, or 1 and *error, which the caller passes to `raise`.
struct SegueRowApi {
  // Appends without waiting for anything, so that it may be called with the GIL:
  // the sequence number, or 0 when `append` has to do it. Then `wait` is due.
  uint64_t (*try_append)(void* store, const uint8_t* row, size_t size);
  // Appends, waiting for room where there is none; with `acknowledge`, does what `wait` does.
  int (*append)(void* store, const uint8_t* row, size_t size, int acknowledge, uint64_t* seq, void** error);
  // Until the row `seq` is as durable as the store promises.
  int (*wait)(void* store, uint64_t seq, void** error);
  // Sets the Python exception that `error` stands for, frees it and returns null,
  // as a C function of Python does that raises. Needs the GIL.
  struct _object* (*raise)(void* error);
};
}

namespace segue::bindings {

// A packed row under construction: on the stack unless it is long.
class RowBuffer {
 public:
  // Starts a row with `fixed` zero bytes.
  void Start(size_t fixed) {
    size_ = 0;
    std::memset(Extend(fixed), 0, fixed);
  }
  void Append(const char* bytes, size_t n) {
    if (n != 0) std::memcpy(Extend(n), bytes, n);
  }
  uint8_t* data() { return long_.empty() ? short_ : long_.data(); }
  size_t size() const { return size_; }

 private:
  uint8_t* Extend(size_t n) {
    const size_t old = size_;
    size_ += n;
    if (size_ > sizeof(short_)) {
      const bool moves = long_.empty();
      long_.resize(size_);
      if (moves) std::memcpy(long_.data(), short_, old);
    }
    return data() + old;
  }

  size_t size_ = 0;
  uint8_t short_[512];
  std::vector<uint8_t> long_;
};

}  // namespace segue::bindings
