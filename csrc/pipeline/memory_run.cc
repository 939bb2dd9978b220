#include "pipeline/memory_run.h"

#include <algorithm>

namespace segue {

Status MemoryRun::Extend(int64_t rows, uint64_t heap_bytes) {
  const auto total = static_cast<size_t>(size_ + rows);
  SEGUE_RETURN_IF_ERROR(rows_.Reserve(total * layout_->stride()));
  SEGUE_RETURN_IF_ERROR(keys_.Reserve(total * sizeof(Key128)));
  return heap_.Reserve(heap_.size() + heap_bytes);
}

void MemoryRun::Commit(int64_t rows) {
  size_ += rows;
  rows_.SetSize(static_cast<size_t>(size_) * layout_->stride());
  keys_.SetSize(static_cast<size_t>(size_) * sizeof(Key128));
  Count(0);
}

// Pages that were reserved but never written take no memory: sizes count, not capacities.
void MemoryRun::Count(uint64_t scratch) { reservation_.Resize(rows_.size() + heap_.size() + keys_.size() + scratch); }

template <typename Entry>
void MemoryRun::SortTies(Entry* entries) const {
  const auto less = [this](const Entry& a, const Entry& b) {
    const size_t stride = layout_->stride();
    const int order =
        key_->Compare({rows_.data() + a.row * stride, heap_.data()}, {rows_.data() + b.row * stride, heap_.data()});
    return order != 0 ? order < 0 : a.row < b.row;
  };
  for (int64_t begin = 0; begin < size_;) {
    int64_t end = begin + 1;
    while (end < size_ && entries[end].SameKey(entries[begin])) ++end;
    if (end - begin > 1) std::sort(entries + begin, entries + end, less);
    begin = end;
  }
}

Status MemoryRun::Sort() {
  const auto n = static_cast<size_t>(size_);
  rows_.Shrink();
  heap_.Shrink();
  if (n == 0) return Status();
  auto* keys = keys_.as<Key128>();
  Key128 varying;
  for (size_t i = 1; i < n; ++i) {
    varying.hi |= keys[i].hi ^ keys[0].hi;
    varying.lo |= keys[i].lo ^ keys[0].lo;
  }
  codec_ = KeyCodec::For(keys[0], varying);
  if (codec_.narrow()) {
    // An entry is as large as a key: made in place.
    static_assert(sizeof(NarrowEntry) == sizeof(Key128));
    auto* entries = keys_.as<NarrowEntry>();
    for (size_t i = 0; i < n; ++i) {
      const NarrowEntry entry{codec_.Compact(LoadAs<Key128>(keys_.data() + i * sizeof(Key128))),
                              static_cast<uint32_t>(i), 0};
      StoreAs(keys_.data() + i * sizeof(NarrowEntry), entry);
    }
    Buffer scratch;
    SEGUE_RETURN_IF_ERROR(scratch.Reserve(n * sizeof(NarrowEntry)));
    Count(n * sizeof(NarrowEntry));
    RadixSort(entries, scratch.as<NarrowEntry>(), n, codec_.bits());
    if (!key_->exact()) SortTies(entries);
    narrow_ = entries;
    keys_.Shrink();
    narrow_ = keys_.as<NarrowEntry>();
  } else {
    Buffer entries_buffer;
    SEGUE_RETURN_IF_ERROR(entries_buffer.Resize(n * sizeof(WideEntry)));
    auto* entries = entries_buffer.as<WideEntry>();
    for (size_t i = 0; i < n; ++i) entries[i] = WideEntry{keys[i].hi, keys[i].lo, static_cast<uint32_t>(i), 0};
    keys_ = std::move(entries_buffer);  // the keys' own block goes with the temporary
    entries_buffer.Free();
    Buffer scratch;
    SEGUE_RETURN_IF_ERROR(scratch.Reserve(n * sizeof(WideEntry)));
    Count(n * sizeof(WideEntry));
    RadixSort(entries, scratch.as<WideEntry>(), n, 128);
    if (!key_->exact()) SortTies(entries);
    keys_.Shrink();
    wide_ = keys_.as<WideEntry>();
  }
  Count(0);
  return Status();
}

int64_t MemoryRun::LowerBound(Key128 key) const {
  int64_t low = 0;
  int64_t high = size_;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (KeyAt(middle) < key) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

}  // namespace segue
