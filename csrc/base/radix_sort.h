// Radix sort of (key, row) entries.
//
// Inputs: n entries and scratch of the same size; `bits`: only the low `bits`
// bits of the keys may differ. Alignment: that of the entry.
// Allocation: none beyond the scratch. Stable: yes.
// Cost: entries beyond the cache are scattered by their most significant byte;
// parts that fit are sorted least significant byte first, skipping bytes in
// which they agree; small parts by insertion or std::stable-equivalent introsort.
// Below 24 entries it is an insertion sort: useful from 2 entries on.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

namespace segue {

struct NarrowEntry {
  uint64_t key;
  uint32_t row;
  uint32_t unused;

  unsigned Digit(int shift) const { return static_cast<unsigned>(key >> shift) & 0xFF; }
  bool KeyLess(const NarrowEntry& other) const { return key < other.key; }
  bool SameKey(const NarrowEntry& other) const { return key == other.key; }
};

struct WideEntry {
  uint64_t hi;
  uint64_t lo;
  uint32_t row;
  uint32_t unused;

  unsigned Digit(int shift) const {
    return static_cast<unsigned>(shift >= 64 ? hi >> (shift - 64) : lo >> shift) & 0xFF;
  }
  bool KeyLess(const WideEntry& other) const { return hi != other.hi ? hi < other.hi : lo < other.lo; }
  bool SameKey(const WideEntry& other) const { return hi == other.hi && lo == other.lo; }
};

namespace radix {

inline constexpr size_t kInsertion = 24;
inline constexpr size_t kIntrosort = 192;
inline constexpr size_t kInCache = 16384;

// A type rather than a function: std::sort calls it inline.
template <typename Entry>
struct EntryLess {
  bool operator()(const Entry& a, const Entry& b) const {
    if (a.KeyLess(b)) return true;
    return a.SameKey(b) && a.row < b.row;  // rows are numbered by arrival: stable
  }
};

template <typename Entry>
void Insertion(Entry* entries, size_t n) {
  for (size_t i = 1; i < n; ++i) {
    const Entry moving = entries[i];
    size_t j = i;
    for (; j > 0 && moving.KeyLess(entries[j - 1]); --j) entries[j] = entries[j - 1];
    entries[j] = moving;
  }
}

// Sorts `from`, leaving the result in `from` or, with `into_scratch`, in `scratch`.
template <typename Entry>
void Lsd(Entry* from, Entry* scratch, size_t n, int bits, bool into_scratch) {
  constexpr int kMaxDigits = sizeof(Entry) > 16 ? 16 : 8;
  const int digits = (bits + 7) / 8;
  std::array<std::array<uint32_t, 256>, kMaxDigits> counts;
  std::memset(counts.data(), 0, sizeof(counts[0]) * static_cast<size_t>(digits));
  for (size_t i = 0; i < n; ++i) {
    for (int d = 0; d < digits; ++d) ++counts[static_cast<size_t>(d)][from[i].Digit(8 * d)];
  }
  Entry* source = from;
  Entry* target = scratch;
  for (int d = 0; d < digits; ++d) {
    auto& count = counts[static_cast<size_t>(d)];
    if (count[source[0].Digit(8 * d)] == n) continue;  // all agree
    uint32_t sum = 0;
    for (uint32_t& c : count) sum += std::exchange(c, sum);
    for (size_t i = 0; i < n; ++i) target[count[source[i].Digit(8 * d)]++] = source[i];
    std::swap(source, target);
  }
  Entry* wanted = into_scratch ? scratch : from;
  if (source != wanted) std::memcpy(wanted, source, n * sizeof(Entry));
}

template <typename Entry>
void Msd(Entry* from, Entry* scratch, size_t n, int bits, bool into_scratch) {
  if (n <= kIntrosort || bits == 0) {
    if (bits > 0 && n > 1) {
      if (n <= kInsertion) {
        Insertion(from, n);
      } else {
        std::sort(from, from + n, EntryLess<Entry>());
      }
    }
    if (into_scratch && n != 0) std::memcpy(scratch, from, n * sizeof(Entry));
    return;
  }
  if (n <= kInCache) return Lsd(from, scratch, n, bits, into_scratch);
  const int shift = bits > 8 ? bits - 8 : 0;
  std::array<size_t, 256> ends{};
  for (size_t i = 0; i < n; ++i) ++ends[from[i].Digit(shift)];
  if (ends[from[0].Digit(shift)] == n) return Msd(from, scratch, n, shift, into_scratch);
  size_t sum = 0;
  for (size_t& end : ends) sum += std::exchange(end, sum);
  for (size_t i = 0; i < n; ++i) scratch[ends[from[i].Digit(shift)]++] = from[i];
  size_t begin = 0;
  for (const size_t end : ends) {
    if (end != begin) Msd(scratch + begin, from + begin, end - begin, shift, !into_scratch);
    begin = end;
  }
}

}  // namespace radix

template <typename Entry>
void RadixSort(Entry* entries, Entry* scratch, size_t n, int bits) {
  if constexpr (requires { entries->key; }) {
    // Keys of a part of their range agree in their first bits, and those of small integers in all but the last.
    uint64_t differ = 0;
    for (size_t i = 1; i < n; ++i) differ |= entries[i].key ^ entries[0].key;
    bits = std::min(bits, static_cast<int>(std::bit_width(differ)));
  }
  radix::Msd(entries, scratch, n, bits, false);
}

}  // namespace segue
