#include "events/ordered_rows.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "base/thread_priority.h"
#include "events/key_prefixes.h"
#include "events/row_gather.h"

namespace segue {

OrderedRows::OrderedRows(const StoreSchema& schema) : schema_(schema), exact_(PrefixIsExact(schema)) {}

void OrderedRows::Clear() {
  batches_.clear();
  prefixes_.clear();
  taken_.clear();
  entries_.clear();
}

void OrderedRows::AddSource(const ColumnBatch* batch, const RawVector<uint64_t>* prefixes) {
  batches_.push_back(batch);
  prefixes_.push_back(prefixes);
  taken_.push_back(0);
}

void OrderedRows::AddEntries(uint32_t source, size_t begin, size_t end) {
  const uint64_t* prefixes = prefixes_[source]->data();
  const ColumnData& times = batches_[source]->columns[static_cast<size_t>(schema_.time)];
  const size_t old = keys_.size();
  keys_.resize(old + (end - begin));
  unsorted_.resize(old + (end - begin));
  NarrowEntry* keys = keys_.data() + old;
  Entry* entries = unsorted_.data() + old;
  for (size_t row = begin; row < end; ++row) {
    const size_t place = row - begin;
    keys[place] = {prefixes[row], static_cast<uint32_t>(old + place), 0};
    entries[place] = {prefixes[row], times.Get<int64_t>(row), source, static_cast<uint32_t>(row)};
  }
}

// Of rows with equal prefixes.
bool OrderedRows::TieLess(const Entry& a, const Entry& b) const {
  if (!exact_) {
    std::string a_key;
    std::string b_key;
    EncodeKey(schema_, *batches_[a.source], a.row, &a_key);
    EncodeKey(schema_, *batches_[b.source], b.row, &b_key);
    if (const int order = a_key.compare(b_key); order != 0) return order < 0;
  }
  if (a.time != b.time) return a.time < b.time;
  return SeqOf(a) < SeqOf(b);
}

void OrderedRows::SortEntries() {
  const size_t n = keys_.size();
  scratch_.resize(std::max(scratch_.size(), n));
  RadixSort(keys_.data(), scratch_.data(), n, 64);
  GiveWay();
  entries_.resize(n);
  for (size_t i = 0; i < n; ++i) entries_[i] = unsorted_[keys_[i].row];
  GiveWay();
  keys_.clear();
  unsorted_.clear();
  const auto less = [this](const Entry& a, const Entry& b) { return TieLess(a, b); };
  // Rows of one key, or of long keys with one prefix: usually few, and in order
  // already when they arrived in the order of their time.
  for (auto begin = entries_.begin(); begin != entries_.end();) {
    auto end = begin + 1;
    bool sorted = true;
    for (; end != entries_.end() && end->prefix == begin->prefix; ++end) sorted = sorted && !less(*end, *(end - 1));
    if (!sorted) std::sort(begin, end, less);
    begin = end;
  }
}

void OrderedRows::Sort() {
  for (uint32_t source = 0; source < batches_.size(); ++source) AddEntries(source, 0, batches_[source]->rows);
  SortEntries();
}

// Where a range of about `rows` rows ends: the weighted median of where each
// source would end it, given its share of what is left.
uint64_t OrderedRows::RangeEnd(size_t rows) const {
  size_t left = 0;
  for (size_t source = 0; source < batches_.size(); ++source) left += batches_[source]->rows - taken_[source];
  if (left <= rows) return std::numeric_limits<uint64_t>::max();
  std::vector<std::pair<uint64_t, size_t>> ends;
  for (size_t source = 0; source < batches_.size(); ++source) {
    const size_t mine = batches_[source]->rows - taken_[source];
    if (mine == 0) continue;
    const size_t share = std::min(mine - 1, static_cast<size_t>(static_cast<double>(rows) * static_cast<double>(mine) /
                                                                static_cast<double>(left)));
    ends.emplace_back((*prefixes_[source])[taken_[source] + share], mine);
  }
  std::sort(ends.begin(), ends.end());
  size_t weight = 0;
  for (const auto& [end, mine] : ends) {
    weight += mine;
    if (2 * weight >= left) return end;
  }
  return ends.back().first;
}

void OrderedRows::Seek(double share) {
  size_t all = 0;
  for (const ColumnBatch* batch : batches_) all += batch->rows;
  taken_.assign(batches_.size(), 0);
  const auto rows = static_cast<size_t>(share * static_cast<double>(all));
  if (rows == 0) return;
  const uint64_t last = RangeEnd(rows);
  for (size_t source = 0; source < batches_.size(); ++source) {
    const RawVector<uint64_t>& prefixes = *prefixes_[source];
    taken_[source] = static_cast<size_t>(std::upper_bound(prefixes.begin(), prefixes.end(), last) - prefixes.begin());
  }
}

// Behind the last row of a source that is in the range up to `last`.
size_t OrderedRows::EndIn(size_t source, uint64_t last) const {
  const RawVector<uint64_t>& prefixes = *prefixes_[source];
  const auto begin = prefixes.begin() + static_cast<ptrdiff_t>(taken_[source]);
  // Galloping: the end is near.
  size_t step = 64;
  while (step < static_cast<size_t>(prefixes.end() - begin) && begin[static_cast<ptrdiff_t>(step)] <= last) step *= 2;
  const auto limit = begin + static_cast<ptrdiff_t>(std::min(step, static_cast<size_t>(prefixes.end() - begin)));
  return static_cast<size_t>(std::upper_bound(begin, limit, last) - prefixes.begin());
}

size_t OrderedRows::RangeRows(size_t rows) const {
  const uint64_t last = RangeEnd(rows);
  size_t total = 0;
  for (size_t source = 0; source < batches_.size(); ++source) total += EndIn(source, last) - taken_[source];
  return total;
}

bool OrderedRows::NextRange(size_t rows) {
  const uint64_t last = RangeEnd(rows);  // included, so that there is always progress
  for (uint32_t source = 0; source < batches_.size(); ++source) {
    const size_t end = EndIn(source, last);
    AddEntries(source, taken_[source], end);
    taken_[source] = end;
  }
  SortEntries();
  return !entries_.empty();
}

void OrderedRows::Gather(const Entry* entries, size_t n, ColumnBatch* to) const {
  GatherRows(schema_, batches_, entries, n, to);
}

}  // namespace segue
