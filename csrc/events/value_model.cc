#include "events/value_model.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "events/bit_pack.h"
#include "events/packed_ints.h"

namespace segue {
namespace {

constexpr size_t kStreams = 4;

// Bits one after the other, the first least significant.
class BitWriter {
 public:
  // At most `bits` more.
  BitWriter(std::string* out, size_t bits) : out_(out), at_(out->size()) { out->resize(at_ + bits / 8 + 16); }

  // At most 57 bits. Every time whole bytes are stored: no branch, which nothing could guess.
  void Put(uint64_t value, int width) {
    word_ |= value << filled_;
    filled_ += width;
    StoreAs<uint64_t>(out_->data() + at_, word_);
    at_ += static_cast<size_t>(filled_) / 8;
    word_ = filled_ < 64 ? word_ >> (filled_ & ~7) : 0;
    filled_ &= 7;
  }
  void Finish() { out_->resize(at_ + static_cast<size_t>(filled_ + 7) / 8); }

 private:
  std::string* out_;
  size_t at_;
  uint64_t word_ = 0;
  int filled_ = 0;
};

}  // namespace

// ---- the model itself -----------------------------------------------------

void ValueModel::Serialize(std::string* out) const {
  out->push_back(static_cast<char>(foretold));
  if (foretold == Foretold::kByNothing) {
    PutVarint64(out, frequent.size());
    if (!frequent.empty()) {
      PutFixed<uint64_t>(out, least);
      const PackedPlan plan = PlanPacked(frequent.data(), frequent.size());
      AppendPacked(plan, plan.delta(), frequent.data(), frequent.size(), out);
    }
  }
  code.Serialize(out);
  if (foretold == Foretold::kByKey) same_key.Serialize(out);
}

bool ValueModel::Parse(Cursor* in) {
  uint8_t kind = 0;
  if (!in->GetFixed(&kind) || kind < static_cast<uint8_t>(Foretold::kByNothing) ||
      kind > static_cast<uint8_t>(Foretold::kByClock)) {
    return false;
  }
  foretold = static_cast<Foretold>(kind);
  if (foretold == Foretold::kByNothing) {
    uint64_t n = 0;
    if (!in->GetVarint64(&n) || n > kMostFrequent) return false;
    frequent.resize(n);
    if (n > 0 && (!in->GetFixed(&least) || !TakePacked(in, n, frequent.data()))) return false;
  }
  const bool by_key = foretold == Foretold::kByKey;
  if (!code.Parse(in) || (by_key && !same_key.Parse(in))) return false;
  entries.resize((by_key ? 2 : 1) * BinCode::kEntries);
  code.FillEntries(entries.data());
  if (by_key) same_key.FillEntries(entries.data() + BinCode::kEntries);
  return true;
}

// ---- to bits --------------------------------------------------------------

bool ModelCoder::Encode(const BlockContext& context, const uint64_t* values, size_t n, std::string* out) {
  const ValueModel& model = *context.model;
  const bool by_key = model.foretold == Foretold::kByKey;
  coded_.resize(n);
  found_.resize(n);
  size_t first = 0;
  switch (model.foretold) {
    case Foretold::kByNothing:
      if (model.frequent.empty()) {
        std::copy_n(values, n, coded_.begin());
        break;
      }
      for (size_t i = 0; i < n; ++i) {
        constexpr size_t kAhead = 16;
        if (i + kAhead < n) model.ranks.Prefetch(values[i + kAhead]);
        const uint32_t rank = model.ranks.Find(values[i]);
        const uint64_t other = values[i] - model.least + model.frequent.size();
        coded_[i] = rank != ValueTable::kNone ? rank : other;
        // Around 2^64 it would be taken for a frequent one.
        if (rank == ValueTable::kNone && other < model.frequent.size()) return false;
      }
      break;
    case Foretold::kByStep:
      first = 1;
      for (size_t i = 1; i < n; ++i) coded_[i] = values[i] - values[i - 1];
      break;
    case Foretold::kByClock:
      for (size_t i = 0; i < n; ++i) coded_[i] = values[i] - context.clock[i];
      break;
    case Foretold::kByKey:
      for (size_t i = 0; i < n; ++i) coded_[i] = context.same[i] != 0 ? values[i] - values[i - 1] : values[i];
      break;
  }
  const BinCode::Finder finder = model.code.finder();
  const BinCode::Finder same_finder = model.same_key.finder();
  const uint64_t* coded = coded_.data();
  const BinCode::Bin** found = found_.data();
  bool all = true;
  for (size_t i = first; i < n; ++i) {
    found[i] = by_key && context.same[i] != 0 ? same_finder.Find(coded[i]) : finder.Find(coded[i]);
    all &= found[i] != nullptr;
  }
  if (!all) return false;
  streams_.clear();
  std::array<int64_t, kStreams> ends{};
  for (size_t stream = 0; stream < kStreams; ++stream) {
    WriteStream(first + stream, n);
    ends[stream] = static_cast<int64_t>(streams_.size());
  }
  if (first > 0) PutFixed<uint64_t>(out, values[0]);
  int64_t begin = 0;
  int64_t before = 0;
  for (size_t stream = 0; stream + 1 < kStreams; ++stream) {
    const int64_t size = ends[stream] - begin;
    PutVarint64(out, ZigZag(size - before));
    before = size;
    begin = ends[stream];
  }
  out->append(streams_);
  return true;
}

// Of every fourth value, a code and a place.
void ModelCoder::WriteStream(size_t first, size_t n) {
  size_t bits = 0;
  const BinCode::Bin* const* found = found_.data();
  for (size_t i = first; i < n; i += kStreams) bits += found[i]->bits;
  BitWriter writer(&streams_, bits);
  for (size_t i = first; i < n; i += kStreams) {
    const BinCode::Bin& bin = *found[i];
    const uint64_t place = coded_[i] - bin.base;
    if (bin.bits <= 57) [[likely]] {
      writer.Put(bin.code | place << bin.code_bits, static_cast<int>(bin.bits));
      continue;
    }
    writer.Put(bin.code, static_cast<int>(bin.code_bits));
    writer.Put(place & WidthMask(32), 32);
    writer.Put(place >> 32, static_cast<int>(bin.bits - bin.code_bits) - 32);
  }
  writer.Finish();
}

// ---- and back -------------------------------------------------------------

// The first n of the coded values. Four streams, as each value must be known before the place of the next
// one in its stream is: the processor then works on four at a time.
template <bool kByKey>
bool ModelCoder::TakeCoded(const BlockContext& context, std::string_view streams, size_t rows, size_t n,
                           uint64_t* out) {
  Cursor in(streams);
  std::array<uint64_t, kStreams> at{};  // bits
  std::array<uint64_t, kStreams> end{};
  std::array<uint64_t, kStreams> sizes{};
  uint64_t before = 0;
  for (size_t stream = 0; stream + 1 < kStreams; ++stream) {
    uint64_t step = 0;
    if (!in.GetVarint64(&step)) return false;
    before = sizes[stream] = before + static_cast<uint64_t>(UnZigZag(step));
    if (before > streams.size()) return false;
  }
  const std::string_view body = in.rest();
  uint64_t total = 0;
  for (size_t stream = 0; stream < kStreams; ++stream) {
    at[stream] = 8 * total;
    total = stream + 1 < kStreams ? total + sizes[stream] : body.size();
    end[stream] = 8 * total;
    if (total > body.size()) return false;
  }
  if (end[kStreams - 1] < at[kStreams - 1]) return false;
  // Between two looks at where the streams are, they may run ahead by so much.
  constexpr size_t kRounds = 8;
  constexpr size_t kAhead = kRounds * (BinCode::kMaxCodeBits + 64) / 8 + 2 * sizeof(uint64_t);
  padded_.resize(body.size() + kAhead);
  if (!body.empty()) std::memcpy(padded_.data(), body.data(), body.size());
  std::memset(padded_.data() + body.size(), 0, kAhead);
  const uint8_t* data = padded_.data();
  const BinCode::Entry* entries = context.model->entries.data();
  const uint8_t* same = context.same;

  const auto take = [&](uint64_t* position, size_t row) {
    const uint64_t word = LoadAs<uint64_t>(data + *position / 8) >> (*position % 8);  // 57 bits of it are there
    size_t index = word & (BinCode::kEntries - 1);
    if constexpr (kByKey) index += static_cast<size_t>(same[row]) * BinCode::kEntries;
    const BinCode::Entry& entry = entries[index];
    uint64_t place = word >> entry.code_bits;
    if (entry.bits > 57) [[unlikely]] {
      const uint64_t from = *position + entry.code_bits;
      place = LoadAs<uint64_t>(data + from / 8) >> (from % 8);
      if (from % 8 != 0) place |= static_cast<uint64_t>(data[from / 8 + 8]) << (64 - from % 8);
    }
    *position += entry.bits;
    return entry.base + (place & entry.mask);
  };
  size_t row = 0;
  uint64_t at0 = at[0];
  uint64_t at1 = at[1];
  uint64_t at2 = at[2];
  uint64_t at3 = at[3];
  while (row + kStreams * kRounds <= n) {
    for (size_t round = 0; round < kRounds; ++round, row += kStreams) {
      out[row] = take(&at0, row);
      out[row + 1] = take(&at1, row + 1);
      out[row + 2] = take(&at2, row + 2);
      out[row + 3] = take(&at3, row + 3);
    }
    if (at0 > end[0] || at1 > end[1] || at2 > end[2] || at3 > end[3]) return false;
  }
  at = {at0, at1, at2, at3};
  for (; row < n; ++row) {
    const size_t stream = row % kStreams;
    out[row] = take(&at[stream], row);
    if (at[stream] > end[stream]) return false;
  }
  for (size_t stream = 0; n == rows && stream < kStreams; ++stream) {
    if (end[stream] - at[stream] >= 8) return false;
  }
  return true;
}

template <typename T>
bool ModelCoder::Decode(const BlockContext& context, std::string_view body, size_t rows, size_t begin, size_t end,
                        T* out) {
  const ValueModel& model = *context.model;
  if (begin == end) return true;
  coded_.resize(rows);
  uint64_t* coded = coded_.data();
  switch (model.foretold) {
    case Foretold::kByStep: {
      if (body.size() < sizeof(uint64_t)) return false;
      auto value = LoadAs<uint64_t>(body.data());
      body.remove_prefix(sizeof(uint64_t));
      if (!TakeCoded<false>(context, body, rows - 1, end - 1, coded + 1)) return false;
      for (size_t row = 0; row < end; ++row) {
        if (row > 0) value += coded[row];
        if (row >= begin) out[row - begin] = static_cast<T>(value);
      }
      return true;
    }
    case Foretold::kByKey: {
      if (!TakeCoded<true>(context, body, rows, end, coded)) return false;
      size_t run = begin;  // where the values begin that the first one builds on
      while (context.same[run] != 0) --run;
      uint64_t value = 0;
      for (size_t row = run; row < end; ++row) {
        value = (value & (0 - uint64_t{context.same[row]})) + coded[row];
        if (row >= begin) out[row - begin] = static_cast<T>(value);
      }
      return true;
    }
    case Foretold::kByNothing: {
      if (!TakeCoded<false>(context, body, rows, end, coded)) return false;
      if (model.frequent.empty()) {
        for (size_t row = begin; row < end; ++row) out[row - begin] = static_cast<T>(coded[row]);
        return true;
      }
      const uint64_t frequent = model.frequent.size();
      const uint64_t* values = model.frequent.data();
      for (size_t row = begin; row < end; ++row) {
        // Without a branch: which it is cannot be guessed.
        const uint64_t mask = 0 - static_cast<uint64_t>(coded[row] < frequent);
        const uint64_t other = coded[row] - frequent + model.least;
        out[row - begin] = static_cast<T>((values[coded[row] & mask] & mask) | (other & ~mask));
      }
      return true;
    }
    case Foretold::kByClock: {
      if (!TakeCoded<false>(context, body, rows, end, coded)) return false;
      for (size_t row = begin; row < end; ++row) out[row - begin] = static_cast<T>(coded[row] + context.clock[row]);
      return true;
    }
  }
  return false;
}

template bool ModelCoder::Decode(const BlockContext&, std::string_view, size_t, size_t, size_t, uint8_t*);
template bool ModelCoder::Decode(const BlockContext&, std::string_view, size_t, size_t, size_t, uint16_t*);
template bool ModelCoder::Decode(const BlockContext&, std::string_view, size_t, size_t, size_t, uint32_t*);
template bool ModelCoder::Decode(const BlockContext&, std::string_view, size_t, size_t, size_t, uint64_t*);

}  // namespace segue
