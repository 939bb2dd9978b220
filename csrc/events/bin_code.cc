#include "events/bin_code.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <queue>
#include <utility>

#include "base/thread_priority.h"
#include "events/bit_pack.h"

namespace segue {
namespace {

constexpr double kBitsOfABin = 40;   // in the file
constexpr double kWorthOfABin = 16;  // bits of the sample: more bins take longer to find
constexpr int kEscapeWidth = 64;

constexpr auto kSignedLess = [](uint64_t a, uint64_t b) { return static_cast<int64_t>(a) < static_cast<int64_t>(b); };

// In pieces of a quarter of a millisecond, between which others may want the processor.
void SortSample(RawVector<uint64_t>* sample) {
  constexpr size_t kPiece = 4096;
  const auto at = [&](size_t i) { return sample->begin() + static_cast<ptrdiff_t>(std::min(i, sample->size())); };
  for (size_t i = 0; i < sample->size(); i += kPiece) {
    std::sort(at(i), at(i + kPiece), kSignedLess);
    GiveWay();
  }
  for (size_t piece = kPiece; piece < sample->size(); piece *= 2) {
    for (size_t i = 0; i + piece < sample->size(); i += 2 * piece) {
      std::inplace_merge(at(i), at(i + piece), at(i + 2 * piece), kSignedLess);
      GiveWay();
    }
  }
}

// Places in the sorted sample at which a bin may begin, 0 and its size included: its quantiles, and the ends
// of values that are as frequent as what lies between them.
std::vector<size_t> Cuts(const RawVector<uint64_t>& sample) {
  const size_t quantiles = sample.size() < 32768 ? 64 : 120;
  std::vector<size_t> cuts{0};
  for (size_t q = 1; q < quantiles; ++q) {
    const size_t place = q * sample.size() / quantiles;
    if (place < cuts.back()) continue;
    const auto range = std::equal_range(sample.begin(), sample.end(), sample[place], kSignedLess);
    const auto begin = static_cast<size_t>(range.first - sample.begin());
    const auto end = static_cast<size_t>(range.second - sample.begin());
    if (begin > cuts.back()) cuts.push_back(begin);
    if (2 * (end - begin) * quantiles > sample.size() && end > cuts.back()) cuts.push_back(end);
  }
  if (cuts.back() < sample.size()) cuts.push_back(sample.size());
  return cuts;
}

// Lengths of Huffman codes of at most kMaxCodeBits bits.
std::vector<uint8_t> CodeLengths(std::vector<uint64_t> counts) {
  const size_t n = counts.size();
  std::vector<uint8_t> lengths(n, 0);
  if (n == 1) return lengths;
  for (;;) {
    using Node = std::pair<uint64_t, size_t>;  // count, number
    std::priority_queue<Node, std::vector<Node>, std::greater<>> queue;
    for (size_t i = 0; i < n; ++i) queue.emplace(counts[i], i);
    std::vector<size_t> parent(2 * n - 1, 0);
    for (size_t next = n; next < 2 * n - 1; ++next) {
      uint64_t count = 0;
      for (int child = 0; child < 2; ++child) {
        count += queue.top().first;
        parent[queue.top().second] = next;
        queue.pop();
      }
      queue.emplace(count, next);
    }
    std::vector<size_t> depth(2 * n - 1, 0);
    size_t deepest = 0;
    for (size_t i = 2 * n - 2; i-- > 0;) {
      depth[i] = depth[parent[i]] + 1;
      deepest = std::max(deepest, depth[i]);
    }
    if (deepest <= BinCode::kMaxCodeBits) {
      for (size_t i = 0; i < n; ++i) lengths[i] = static_cast<uint8_t>(depth[i]);
      return lengths;
    }
    for (uint64_t& count : counts) count = (count + 1) / 2;  // the rare ones come nearer to the others
  }
}

}  // namespace

void BinCode::AddBin(uint64_t base, int width, int code_bits) {
  const auto length = static_cast<uint32_t>(code_bits);
  bins_.push_back({base, WidthMask(width), 0, length, length + static_cast<uint32_t>(width)});
}

BinCode BinCode::Fit(RawVector<uint64_t>* sample, double weight, double* bits) {
  SortSample(sample);
  const RawVector<uint64_t>& values = *sample;
  const std::vector<size_t> cuts = Cuts(values);
  const auto total = static_cast<double>(values.size());
  // best[j]: the fewest bits for the values in front of cut j, with a bin from cut from[j] to it.
  const size_t n = cuts.size();
  std::vector<double> best(n, std::numeric_limits<double>::infinity());
  std::vector<size_t> from(n, 0);
  best[0] = 0;
  for (size_t j = 1; j < n; ++j) {
    const uint64_t most = values[cuts[j] - 1];
    for (size_t i = 0; i < j; ++i) {
      const auto count = static_cast<double>(cuts[j] - cuts[i]);
      const double width = BitWidth(most - values[cuts[i]]);
      const double cost = best[i] + count * (std::log2(total / count) + width) + kBitsOfABin / weight + kWorthOfABin;
      if (cost < best[j]) {
        best[j] = cost;
        from[j] = i;
      }
    }
    if (j % 32 == 0) GiveWay();
  }

  std::vector<size_t> begins;
  for (size_t j = n - 1; j > 0; j = from[j]) begins.push_back(cuts[from[j]]);
  std::reverse(begins.begin(), begins.end());
  std::vector<uint64_t> counts;
  for (size_t bin = 0; bin < begins.size(); ++bin) {
    counts.push_back((bin + 1 < begins.size() ? begins[bin + 1] : values.size()) - begins[bin]);
  }
  const size_t ordered = counts.size();
  if (ordered > 1) counts.push_back(1);  // one bin alone takes no bits for codes: there, what is outside is not coded
  const std::vector<uint8_t> lengths = CodeLengths(counts);
  BinCode code;
  *bits = static_cast<double>(counts.size()) * kBitsOfABin / weight;
  for (size_t bin = 0; bin < ordered; ++bin) {
    const uint64_t base = values[begins[bin]];
    code.AddBin(base, BitWidth(values[begins[bin] + counts[bin] - 1] - base), lengths[bin]);
    *bits += static_cast<double>(counts[bin]) * code.bins_[bin].bits;
  }
  if (ordered > 1) code.AddBin(0, kEscapeWidth, lengths[ordered]);
  code.AssignCodes();
  code.PrepareEncoding(counts, ordered);
  return code;
}

void BinCode::PrepareEncoding(const std::vector<uint64_t>& counts, size_t ordered) {
  double densest = 0;
  for (size_t bin = 0; bin < ordered; ++bin) {
    const double density = static_cast<double>(counts[bin]) / (static_cast<double>(bins_[bin].mask) + 1);
    if (density <= densest) continue;
    densest = density;
    finder_.center_ = bins_[bin].base;
  }
  const auto signed_base = [&](size_t bin) { return static_cast<int64_t>(bins_[bin].base); };
  for (size_t bin = 1; bin < ordered; ++bin) before_next_.push_back(signed_base(bin) - 1);
  before_next_.push_back(std::numeric_limits<int64_t>::max());
  // The bin of a slot's least value: that of the number its bits stand for, less the one that was added.
  constexpr size_t kSlotsOfASide = Finder::kSlotsOfASide;
  first_of_slot_.assign(2 * kSlotsOfASide, 0);
  const auto size_of = [](size_t slot) {
    const uint64_t bits = (slot + (uint64_t{1023} << Finder::kSlotBits)) << (52 - Finder::kSlotBits);
    return static_cast<uint64_t>(std::ceil(std::bit_cast<double>(bits))) - 1;
  };
  for (size_t slot = 0; slot + 1 < kSlotsOfASide; ++slot) {
    for (const bool below : {false, true}) {
      const uint64_t least = finder_.center_ + (below ? 0 - size_of(slot + 1) : size_of(slot));
      size_t bin = 0;
      while (bin + 1 < ordered && signed_base(bin + 1) <= static_cast<int64_t>(least)) ++bin;
      first_of_slot_[(below ? kSlotsOfASide : 0) + slot] = static_cast<uint8_t>(bin);
    }
  }
  finder_.bins_ = bins_.data();
  finder_.escape_ = ordered < bins_.size() ? &bins_.back() : nullptr;
  finder_.first_of_slot_ = first_of_slot_.data();
  finder_.before_next_ = before_next_.data();
}

// Canonical: in the order of length, then of bins; each is the one before it plus one.
void BinCode::AssignCodes() {
  uint32_t next = 0;
  for (uint32_t length = 1; length <= kMaxCodeBits; ++length) {
    next <<= 1;
    for (Bin& bin : bins_) {
      if (bin.code_bits != length) continue;
      bin.code = 0;
      for (uint32_t bit = 0; bit < length; ++bit) bin.code |= (next >> bit & 1) << (length - 1 - bit);
      ++next;
    }
  }
}

bool BinCode::Complete() const {
  if (bins() == 1) return bins_[0].code_bits == 0;
  uint64_t sum = 0;
  for (const Bin& bin : bins_) {
    if (bin.code_bits < 1 || bin.code_bits > kMaxCodeBits) return false;
    sum += uint64_t{1} << (kMaxCodeBits - bin.code_bits);
  }
  return sum == uint64_t{1} << kMaxCodeBits;
}

void BinCode::Serialize(std::string* out) const {
  PutVarint64(out, bins());
  uint64_t before = 0;
  for (const Bin& bin : bins_) {
    PutVarint64(out, ZigZag(static_cast<int64_t>(bin.base - before)));
    out->push_back(static_cast<char>(bin.bits - bin.code_bits));
    out->push_back(static_cast<char>(bin.code_bits));
    before = bin.base;
  }
}

bool BinCode::Parse(Cursor* in) {
  bins_.clear();
  uint64_t n = 0;
  if (!in->GetVarint64(&n) || n == 0 || n > kMaxBins) return false;
  uint64_t base = 0;
  for (uint64_t bin = 0; bin < n; ++bin) {
    uint64_t step = 0;
    uint8_t width = 0;
    uint8_t length = 0;
    if (!in->GetVarint64(&step) || !in->GetFixed(&width) || !in->GetFixed(&length) || width > 64) return false;
    base += static_cast<uint64_t>(UnZigZag(step));
    AddBin(base, width, length);
  }
  if (!Complete()) return false;
  AssignCodes();
  return true;
}

void BinCode::FillEntries(Entry* entries) const {
  for (const Bin& bin : bins_) {
    for (size_t bits = bin.code; bits < kEntries; bits += size_t{1} << bin.code_bits) {
      entries[bits] = {bin.base, bin.mask, bin.code_bits, bin.bits};
    }
  }
}

}  // namespace segue
