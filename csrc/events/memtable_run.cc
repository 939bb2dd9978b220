#include "events/memtable_run.h"

#include <algorithm>
#include <limits>

namespace segue {
namespace {

// True when KeyPrefix alone decides key order: every key of this schema is at most eight bytes.
bool PrefixIsExact(const StoreSchema& schema) {
  int width = 0;
  for (const int c : schema.key) {
    const int column = schema.columns[static_cast<size_t>(c)].width;
    if (column == 0) return false;
    width += column;
  }
  return width <= 8;
}

// KeyPrefix(EncodeKey(row)) of a single fixed-width integer key, without the bytes between.
template <typename Unsigned>
void IntegerPrefixes(const ColumnData& column, size_t rows, bool is_signed, uint64_t* prefixes) {
  constexpr int kBits = static_cast<int>(sizeof(Unsigned)) * 8;
  const Unsigned bias = is_signed ? static_cast<Unsigned>(Unsigned{1} << (kBits - 1)) : Unsigned{0};
  for (size_t row = 0; row < rows; ++row) {
    prefixes[row] = static_cast<uint64_t>(static_cast<Unsigned>(column.Get<Unsigned>(row) ^ bias)) << (64 - kBits);
  }
}

bool SimplePrefixes(const StoreSchema& schema, const ColumnBatch& batch, uint64_t* prefixes) {
  if (schema.key.size() != 1) return false;
  const auto c = static_cast<size_t>(schema.key[0]);
  const ColumnData& column = batch.columns[c];
  switch (schema.columns[c].field.type.id) {
    case TypeId::kInt64:
    case TypeId::kTimestamp:
      IntegerPrefixes<uint64_t>(column, batch.rows, true, prefixes);
      return true;
    case TypeId::kUInt64:
      IntegerPrefixes<uint64_t>(column, batch.rows, false, prefixes);
      return true;
    case TypeId::kInt32:
    case TypeId::kDate32:
      IntegerPrefixes<uint32_t>(column, batch.rows, true, prefixes);
      return true;
    case TypeId::kUInt32:
      IntegerPrefixes<uint32_t>(column, batch.rows, false, prefixes);
      return true;
    default:
      return false;
  }
}

void ComputePrefixes(const StoreSchema& schema, const ColumnBatch& batch, RawVector<uint64_t>* prefixes,
                     std::vector<std::string>* long_keys) {
  prefixes->resize(batch.rows);
  if (SimplePrefixes(schema, batch, prefixes->data())) return;
  if (long_keys != nullptr) long_keys->resize(batch.rows);
  std::string key;
  for (size_t row = 0; row < batch.rows; ++row) {
    key.clear();
    EncodeKey(schema, batch, row, &key);
    (*prefixes)[row] = KeyPrefix(key);
    if (long_keys != nullptr) (*long_keys)[row] = key;
  }
}

}  // namespace

std::shared_ptr<MemtableRun> MemtableRun::FromBatch(const StoreSchema& schema, const ColumnBatch& batch,
                                                    uint64_t first_seq) {
  const bool exact = PrefixIsExact(schema);
  RawVector<uint64_t> prefixes;
  std::vector<std::string> keys;
  ComputePrefixes(schema, batch, &prefixes, exact ? nullptr : &keys);

  std::vector<SortEntry> entries(batch.rows);
  for (size_t row = 0; row < batch.rows; ++row) {
    entries[row] = {prefixes[row], TimeAt(schema, batch, row), static_cast<uint32_t>(row)};
  }
  // Row numbers stand for sequences: they grow together.
  std::sort(entries.begin(), entries.end(), [&](const SortEntry& a, const SortEntry& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    if (!exact) {
      if (const int order = keys[a.row].compare(keys[b.row]); order != 0) return order < 0;
    }
    if (a.time != b.time) return a.time < b.time;
    return a.row < b.row;
  });

  auto run = Gathered(schema, batch, entries);
  run->batch_.seq.resize(batch.rows);
  for (size_t i = 0; i < entries.size(); ++i) run->batch_.seq[i] = first_seq + entries[i].row;
  run->SealSequences();
  return run;
}

std::shared_ptr<const MemtableRun> MemtableRun::FromSkipList(const RowFormat& format, const StoreSchema& schema,
                                                             const Interners& interners, const SkipList& list) {
  auto run = std::shared_ptr<MemtableRun>(new MemtableRun());
  run->batch_.columns.resize(schema.columns.size());
  for (const SkipList::Node* node = list.First(); node != nullptr; node = node->Next(0)) {
    format.Unpack(interners, node->row, &run->batch_);
    run->batch_.seq.push_back(node->order.seq);
    run->prefixes_.push_back(node->order.prefix);
  }
  run->Seal(schema);
  return run;
}

std::shared_ptr<const MemtableRun> MemtableRun::Merge(const StoreSchema& schema,
                                                      const std::vector<std::shared_ptr<const MemtableRun>>& runs) {
  // Concatenate, merge entries that hold what usually decides the order, then
  // gather once: every pass reads and writes memory in sequence, and columns
  // are copied by one tight loop each instead of row by row.
  ColumnBatch all;
  std::vector<SortEntry> entries;
  std::vector<size_t> begin;
  for (const auto& source : runs) {
    begin.push_back(all.rows);
    for (size_t row = 0; row < source->rows(); ++row) {
      entries.push_back(
          {source->prefixes_[row], TimeAt(schema, source->batch_, row), static_cast<uint32_t>(all.rows + row)});
    }
    AppendRows(schema, source->batch_, size_t{0}, source->rows(), {}, &all);
  }
  begin.push_back(all.rows);

  const bool exact = PrefixIsExact(schema);
  const auto less = [&](const SortEntry& a, const SortEntry& b) {
    if (a.prefix != b.prefix) return a.prefix < b.prefix;
    if (!exact) {
      std::string a_key;
      std::string b_key;
      EncodeKey(schema, all, a.row, &a_key);
      EncodeKey(schema, all, b.row, &b_key);
      if (const int order = a_key.compare(b_key); order != 0) return order < 0;
    }
    if (a.time != b.time) return a.time < b.time;
    return all.seq[a.row] < all.seq[b.row];
  };
  // Pairwise merging of neighbours: log2(runs) passes.
  std::vector<SortEntry> merged(entries.size());
  for (size_t width = 1; width < runs.size(); width *= 2) {
    for (size_t i = 0; i < runs.size(); i += 2 * width) {
      const auto at = [&](size_t run) {
        return entries.begin() + static_cast<ptrdiff_t>(begin[std::min(run, runs.size())]);
      };
      std::merge(at(i), at(i + width), at(i + width), at(i + 2 * width),
                 merged.begin() + static_cast<ptrdiff_t>(begin[i]), less);
    }
    entries.swap(merged);
  }
  return Gathered(schema, all, entries);
}

std::shared_ptr<MemtableRun> MemtableRun::Gathered(const StoreSchema& schema, const ColumnBatch& rows,
                                                   const std::vector<SortEntry>& entries) {
  auto run = std::shared_ptr<MemtableRun>(new MemtableRun());
  std::vector<uint32_t> order(entries.size());
  run->prefixes_.resize(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    order[i] = entries[i].row;
    run->prefixes_[i] = entries[i].prefix;
  }
  AppendRows(schema, rows, order.data(), order.size(), {}, &run->batch_);
  run->Seal(schema);
  return run;
}

void MemtableRun::Rebase(uint64_t by) {
  for (uint64_t& seq : batch_.seq) seq += by;
  min_seq_ += by;
  max_seq_ += by;
}

void MemtableRun::Seal(const StoreSchema& schema) {
  min_time_ = std::numeric_limits<int64_t>::max();
  max_time_ = std::numeric_limits<int64_t>::min();
  for (size_t row = 0; row < batch_.rows; ++row) {
    const int64_t time = TimeAt(schema, batch_, row);
    min_time_ = std::min(min_time_, time);
    max_time_ = std::max(max_time_, time);
  }
  SealSequences();
}

void MemtableRun::SealSequences() {
  min_seq_ = std::numeric_limits<uint64_t>::max();
  max_seq_ = 0;
  for (const uint64_t seq : batch_.seq) {
    min_seq_ = std::min(min_seq_, seq);
    max_seq_ = std::max(max_seq_, seq);
  }
}

std::pair<size_t, size_t> MemtableRun::FindKey(const StoreSchema& schema, std::string_view encoded_key) const {
  const uint64_t prefix = KeyPrefix(encoded_key);
  auto [first, last] = std::equal_range(prefixes_.begin(), prefixes_.end(), prefix);
  auto begin = static_cast<size_t>(first - prefixes_.begin());
  auto end = static_cast<size_t>(last - prefixes_.begin());
  if (encoded_key.size() <= 8) return {begin, end};
  const auto compare = [&](size_t row) {
    std::string key;
    EncodeKey(schema, batch_, row, &key);
    return key.compare(encoded_key);
  };
  const auto bound = [&](bool upper) {
    size_t lo = begin;
    size_t hi = end;
    while (lo < hi) {
      const size_t middle = lo + (hi - lo) / 2;
      const int order = compare(middle);
      if (order < 0 || (upper && order == 0)) {
        lo = middle + 1;
      } else {
        hi = middle;
      }
    }
    return lo;
  };
  return {bound(false), bound(true)};
}

}  // namespace segue
