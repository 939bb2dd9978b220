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

constexpr size_t kQuantiles = 96;        // bins end at these of the sample
constexpr double kBitsOfABin = 40;       // in the file
constexpr int kEscapeWidth = 64;

bool SignedLess(uint64_t a, uint64_t b) { return static_cast<int64_t>(a) < static_cast<int64_t>(b); }

// In pieces of a quarter of a millisecond, between which others may want the processor.
void SortSample(RawVector<uint64_t>* sample) {
  constexpr size_t kPiece = 4096;
  const auto at = [&](size_t i) { return sample->begin() + static_cast<ptrdiff_t>(std::min(i, sample->size())); };
  for (size_t i = 0; i < sample->size(); i += kPiece) {
    std::sort(at(i), at(i + kPiece), SignedLess);
    GiveWay();
  }
  for (size_t piece = kPiece; piece < sample->size(); piece *= 2) {
    for (size_t i = 0; i + piece < sample->size(); i += 2 * piece) {
      std::inplace_merge(at(i), at(i + piece), at(i + 2 * piece), SignedLess);
      GiveWay();
    }
  }
}

// Places in the sorted sample at which a bin may begin, 0 and its size included: its quantiles, and both
// ends of values so frequent that a quantile lies in them.
std::vector<size_t> Cuts(const RawVector<uint64_t>& sample) {
  std::vector<size_t> cuts{0};
  for (size_t q = 1; q < kQuantiles; ++q) {
    const size_t place = q * sample.size() / kQuantiles;
    if (place < cuts.back()) continue;
    const auto range = std::equal_range(sample.begin(), sample.end(), sample[place], SignedLess);
    for (const auto end : {range.first, range.second}) {
      const auto cut = static_cast<size_t>(end - sample.begin());
      if (cut > cuts.back()) cuts.push_back(cut);
    }
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

void BinCode::AddBin(uint64_t base, int width) {
  bases_.push_back(base);
  masks_.push_back(WidthMask(width));
  widths_.push_back(static_cast<uint8_t>(width));
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
      const double cost = best[i] + count * (std::log2(total / count) + width) + kBitsOfABin / weight;
      if (cost < best[j]) {
        best[j] = cost;
        from[j] = i;
      }
    }
    if (j % 32 == 0) GiveWay();
  }

  BinCode code;
  std::vector<uint64_t> counts;
  std::vector<size_t> begins;
  for (size_t j = n - 1; j > 0; j = from[j]) begins.push_back(from[j]);
  std::reverse(begins.begin(), begins.end());
  for (size_t bin = 0; bin < begins.size(); ++bin) {
    const size_t begin = cuts[begins[bin]];
    const size_t end = bin + 1 < begins.size() ? cuts[begins[bin + 1]] : values.size();
    code.AddBin(values[begin], BitWidth(values[end - 1] - values[begin]));
    counts.push_back(end - begin);
  }
  code.ordered_ = counts.size();
  if (counts.size() > 1) {  // one bin alone takes no bits for codes: there, what is outside is not coded
    code.escape_ = static_cast<int>(counts.size());
    code.AddBin(0, kEscapeWidth);
    counts.push_back(1);
  }
  code.code_bits_ = CodeLengths(counts);
  code.AssignCodes();
  *bits = static_cast<double>(code.bins()) * kBitsOfABin / weight;
  for (size_t bin = 0; bin < code.ordered_; ++bin) {
    *bits += static_cast<double>(counts[bin]) * (code.code_bits_[bin] + code.widths_[bin]);
  }
  return code;
}

// Canonical: in the order of length, then of bins; each is the one before it plus one.
void BinCode::AssignCodes() {
  codes_.assign(bins(), 0);
  uint32_t next = 0;
  for (int length = 1; length <= kMaxCodeBits; ++length) {
    next <<= 1;
    for (size_t bin = 0; bin < bins(); ++bin) {
      if (code_bits_[bin] != length) continue;
      uint32_t reversed = 0;
      for (int bit = 0; bit < length; ++bit) reversed |= (next >> bit & 1) << (length - 1 - bit);
      codes_[bin] = static_cast<uint16_t>(reversed);
      ++next;
    }
  }
}

bool BinCode::Complete() const {
  if (bins() == 1) return code_bits_[0] == 0;
  uint64_t sum = 0;
  for (const uint8_t length : code_bits_) {
    if (length < 1 || length > kMaxCodeBits) return false;
    sum += uint64_t{1} << (kMaxCodeBits - length);
  }
  return sum == uint64_t{1} << kMaxCodeBits;
}

void BinCode::Serialize(std::string* out) const {
  PutVarint64(out, bins());
  uint64_t before = 0;
  for (size_t bin = 0; bin < bins(); ++bin) {
    PutVarint64(out, ZigZag(static_cast<int64_t>(bases_[bin] - before)));
    out->push_back(static_cast<char>(widths_[bin]));
    out->push_back(static_cast<char>(code_bits_[bin]));
    before = bases_[bin];
  }
}

bool BinCode::Parse(Cursor* in) {
  *this = BinCode();
  uint64_t n = 0;
  if (!in->GetVarint64(&n) || n == 0 || n > kMaxBins) return false;
  uint64_t base = 0;
  for (uint64_t bin = 0; bin < n; ++bin) {
    uint64_t step = 0;
    uint8_t width = 0;
    uint8_t length = 0;
    if (!in->GetVarint64(&step) || !in->GetFixed(&width) || !in->GetFixed(&length) || width > 64) return false;
    base += static_cast<uint64_t>(UnZigZag(step));
    AddBin(base, width);
    code_bits_.push_back(length);
  }
  if (!Complete()) return false;
  AssignCodes();
  return true;
}

void BinCode::FillEntries(Entry* entries) const {
  for (size_t bin = 0; bin < bins(); ++bin) {
    const uint32_t length = code_bits_[bin];
    for (size_t bits = codes_[bin]; bits < kEntries; bits += size_t{1} << length) {
      entries[bits] = {bases_[bin], masks_[bin], length, length + widths_[bin]};
    }
  }
}

}  // namespace segue
