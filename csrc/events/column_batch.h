// ColumnBatch: rows of an event table as columns, the currency of Act 1.
//
// Memtable runs, WAL batch records, SSTable blocks and scans all speak it.
//
// Layout of a ColumnData, by StoreColumn:
//   width > 0   values: rows * width bytes, little-endian (a bool is one byte, 0 or 1)
//   width == 0  values: the bytes; offsets: rows + 1 positions into them
//   valid       one byte a row, 0 for null; empty: no nulls. A null's fixed
//               value is zero, its byte value empty.
// A column that a scan did not ask for has no values, offsets or valid.
//
// Thread safety: plain data; const access from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/coding.h"
#include "base/large_buffers.h"
#include "events/interner.h"
#include "events/store_schema.h"

namespace segue {

// AddressSanitizer knows the bounds of what malloc gives.
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SEGUE_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SEGUE_ADDRESS_SANITIZER
#endif
#if defined(SEGUE_ADDRESS_SANITIZER)
inline constexpr bool kPages = false;
#else
inline constexpr bool kPages = true;
#endif

// An allocator that leaves new elements uninitialised: buffers are always
// overwritten, and zeroing them first costs a pass over memory. Large ones go
// back to the system when they are freed.
template <typename T>
struct UninitializedAllocator : std::allocator<T> {
  UninitializedAllocator() = default;
  template <typename U>
  UninitializedAllocator(const UninitializedAllocator<U>& other) noexcept : std::allocator<T>(other) {}  // NOLINT
  template <typename U>
  struct rebind {
    using other = UninitializedAllocator<U>;
  };
  T* allocate(size_t n) {
    if (kPages && n * sizeof(T) >= kLargeBytes) return static_cast<T*>(AllocateLarge(n * sizeof(T)));
    return std::allocator<T>::allocate(n);
  }
  void deallocate(T* p, size_t n) noexcept {
    if (kPages && n * sizeof(T) >= kLargeBytes) return FreeLarge(p, n * sizeof(T));
    std::allocator<T>::deallocate(p, n);
  }
  template <typename U>
  void construct(U* p) noexcept {
    ::new (static_cast<void*>(p)) U;
  }
  template <typename U, typename... Args>
  void construct(U* p, Args&&... args) {
    ::new (static_cast<void*>(p)) U(std::forward<Args>(args)...);
  }
};
template <typename T>
using RawVector = std::vector<T, UninitializedAllocator<T>>;

struct ColumnData {
  RawVector<uint8_t> values;
  RawVector<uint32_t> offsets;
  RawVector<uint8_t> valid;

  template <typename T>
  T Get(size_t row) const {
    return LoadAs<T>(values.data() + row * sizeof(T));
  }
  std::string_view Bytes(size_t row) const {
    return {reinterpret_cast<const char*>(values.data()) + offsets[row], offsets[row + 1] - offsets[row]};
  }
  bool IsNull(size_t row) const { return !valid.empty() && valid[row] == 0; }
  size_t memory() const { return values.capacity() + offsets.capacity() * sizeof(uint32_t) + valid.capacity(); }
};

struct ColumnBatch {
  size_t rows = 0;
  std::vector<ColumnData> columns;  // one per StoreSchema column
  RawVector<uint64_t> seq;

  size_t memory() const;
};

// One interner per column; null for columns that are not coded.
using Interners = std::vector<std::unique_ptr<Interner>>;
Interners MakeInterners(const StoreSchema& schema);

// Appends rows [begin, end) of `from`, or the rows named by `order`, to `to`.
// Only columns with wanted[c] are copied (empty `wanted`: all).
void AppendRows(const StoreSchema& schema, const ColumnBatch& from, size_t begin, size_t end,
                const std::vector<bool>& wanted, ColumnBatch* to);
void AppendRows(const StoreSchema& schema, const ColumnBatch& from, const uint32_t* order, size_t n,
                const std::vector<bool>& wanted, ColumnBatch* to);

// The key of a row as bytes whose memcmp order is the key's order (integers
// biased big-endian, floats by total order with -0 as 0, bytes escaped so that
// a prefix sorts first, columns one after the other). Appends to `out`.
void EncodeKey(const StoreSchema& schema, const ColumnBatch& batch, size_t row, std::string* out);
// One key column's part of it: `value` for fixed-width types, else `bytes`.
void EncodeKeyPart(TypeId type, const uint8_t* value, std::string_view bytes, std::string* out);
// The bloom hash of an encoded key. Stands in files: never change it.
uint64_t KeyHash(std::string_view encoded_key);

// The time column of a row, in the column's unit.
inline int64_t TimeAt(const StoreSchema& schema, const ColumnBatch& batch, size_t row) {
  return batch.columns[static_cast<size_t>(schema.time)].Get<int64_t>(row);
}

}  // namespace segue
