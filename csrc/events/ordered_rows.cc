#include "events/ordered_rows.h"

#include <algorithm>
#include <string>

#include "base/radix_sort.h"
#include "events/key_prefixes.h"
#include "events/row_gather.h"

namespace segue {

OrderedRows::OrderedRows(const StoreSchema& schema) : schema_(schema), exact_(PrefixIsExact(schema)) {}

void OrderedRows::AddSource(const ColumnBatch* batch, const RawVector<uint64_t>* prefixes) {
  batches_.push_back(batch);
  prefixes_.push_back(prefixes);
  rows_ += batch->rows;
}

void OrderedRows::AddEntries(uint32_t source) {
  const ColumnBatch& batch = *batches_[source];
  for (size_t row = 0; row < batch.rows; ++row) {
    entries_.push_back({(*prefixes_[source])[row], TimeAt(schema_, batch, row), source, static_cast<uint32_t>(row)});
  }
}

bool OrderedRows::Less(const Entry& a, const Entry& b) const {
  if (a.prefix != b.prefix) return a.prefix < b.prefix;
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

void OrderedRows::Sort() {
  entries_.reserve(rows_);
  std::vector<NarrowEntry> keys;
  keys.reserve(rows_);
  for (uint32_t source = 0; source < batches_.size(); ++source) {
    AddEntries(source);
    for (size_t row = 0; row < batches_[source]->rows; ++row) {
      keys.push_back({(*prefixes_[source])[row], static_cast<uint32_t>(keys.size()), 0});
    }
  }
  std::vector<NarrowEntry> scratch(keys.size());
  RadixSort(keys.data(), scratch.data(), keys.size(), 64);
  std::vector<Entry> sorted(entries_.size());
  for (size_t i = 0; i < keys.size(); ++i) sorted[i] = entries_[keys[i].row];
  entries_.swap(sorted);
  // Rows of one key, or of long keys with one prefix: usually few.
  for (size_t begin = 0; begin < entries_.size();) {
    size_t end = begin + 1;
    while (end < entries_.size() && entries_[end].prefix == entries_[begin].prefix) ++end;
    if (end - begin > 1) {
      std::sort(entries_.begin() + static_cast<ptrdiff_t>(begin), entries_.begin() + static_cast<ptrdiff_t>(end),
                [this](const Entry& a, const Entry& b) { return Less(a, b); });
    }
    begin = end;
  }
}

void OrderedRows::Merge() {
  entries_.reserve(rows_);
  std::vector<size_t> begin;
  for (uint32_t source = 0; source < batches_.size(); ++source) {
    begin.push_back(entries_.size());
    AddEntries(source);
  }
  begin.push_back(entries_.size());
  std::vector<Entry> merged(entries_.size());
  const size_t sources = batches_.size();
  for (size_t width = 1; width < sources; width *= 2) {
    const auto at = [&](size_t source) {
      return entries_.begin() + static_cast<ptrdiff_t>(begin[std::min(source, sources)]);
    };
    for (size_t i = 0; i < sources; i += 2 * width) {
      std::merge(at(i), at(i + width), at(i + width), at(i + 2 * width),
                 merged.begin() + static_cast<ptrdiff_t>(begin[i]),
                 [this](const Entry& a, const Entry& b) { return Less(a, b); });
    }
    entries_.swap(merged);
  }
}

void OrderedRows::Gather(const Entry* entries, size_t n, ColumnBatch* to) const {
  GatherRows(schema_, batches_, entries, n, to);
}

}  // namespace segue
