// ArrivalClock: when, about, the event with a sequence number happened.
//
// Events arrive nearly in the order of their times, so that a table that is in
// the order of keys can tell most of an event's time from its sequence number:
// a line through the times of every 64th event, or of fewer where there would
// be more than a million.
//
// Thread safety: a clock is plain data; a maker belongs to one thread.
// Memory: 8 bytes a knot; a maker 16.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "base/coding.h"
#include "events/column_batch.h"

namespace segue {

class ArrivalClock {
 public:
  bool empty() const { return knots_.empty(); }
  // Modulo 2^64, as all times here. Not of an empty clock.
  uint64_t At(uint64_t seq) const {
    const uint64_t place = seq > first_ ? seq - first_ : 0;
    const uint64_t knot = place >> shift_;
    if (knot >= knots_.size() - 1) return knots_.back();
    const uint64_t from = knots_[knot];
    const auto step = static_cast<int64_t>(knots_[knot + 1] - from);
    const auto part = static_cast<int64_t>(place & ((uint64_t{1} << shift_) - 1));
    if (narrow_) return from + static_cast<uint64_t>(step * part >> shift_);
    return from + static_cast<uint64_t>(static_cast<__int128>(step) * part >> shift_);
  }

  void AtMany(const uint64_t* seq, size_t n, uint64_t* out) const {
    constexpr size_t kAhead = 32;
    constexpr size_t kInCache = 32768;  // more knots are read from all over a few megabytes
    const bool fetch = knots_.size() > kInCache;
    for (size_t i = 0; i < n; ++i) {
      if (fetch && i + kAhead < n) {
        const uint64_t place = seq[i + kAhead] > first_ ? seq[i + kAhead] - first_ : 0;
        __builtin_prefetch(knots_.data() + std::min<uint64_t>(place >> shift_, knots_.size() - 1));
      }
      out[i] = At(seq[i]);
    }
  }

  void Serialize(std::string* out) const;
  // False when it is damaged.
  bool Parse(Cursor* in);

 private:
  friend class ArrivalClockMaker;
  void SetKnots(RawVector<uint64_t> knots);

  uint64_t first_ = 0;
  int shift_ = 0;        // a knot each 2^shift_ sequence numbers
  bool narrow_ = false;  // what At multiplies fits 64 bits
  RawVector<uint64_t> knots_;
};

class ArrivalClockMaker {
 public:
  ArrivalClockMaker() = default;  // of an empty clock
  // `sample`: sequence numbers of some of the rows; `rows`: how many there are.
  ArrivalClockMaker(RawVector<uint64_t> sample, uint64_t rows);

  // All rows, in any order.
  void Add(uint64_t time, uint64_t seq) {
    const uint64_t place = seq - clock_.first_;
    const uint64_t number = place >> clock_.shift_;
    if (number >= earliest_.size()) return;  // also below the first
    Arrival& arrival = earliest_[number];
    if (place < arrival.place) arrival = {place, time};
  }
  // Empty when too few rows were added to tell.
  ArrivalClock Make();

 private:
  struct Arrival {
    uint64_t place;
    uint64_t time;
  };
  ArrivalClock clock_;
  RawVector<Arrival> earliest_;  // of each knot's sequence numbers
};

}  // namespace segue
