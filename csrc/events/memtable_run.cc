#include "events/memtable_run.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/radix_sort.h"
#include "events/key_prefixes.h"

namespace segue {

namespace {

// A row on its way to its place: what nearly always decides the order, and where it is now.
struct RunEntry {
  uint64_t prefix;
  int64_t time;
  uint32_t source;
  uint32_t row;
};

}  // namespace

// Puts rows of several sources in order and copies them, column by column, into
// one run. Sources stay where they are until then: only entries move.
class RunAssembler {
 public:
  explicit RunAssembler(const StoreSchema& schema) : schema_(schema), exact_(PrefixIsExact(schema)) {}

  void AddSource(const ColumnBatch* batch, const RawVector<uint64_t>* prefixes) {
    batches_.push_back(batch);
    prefixes_.push_back(prefixes);
    rows_ += batch->rows;
  }

  // For sources in any order.
  void SortEntries() {
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
    std::vector<RunEntry> sorted(entries_.size());
    for (size_t i = 0; i < keys.size(); ++i) sorted[i] = entries_[keys[i].row];
    entries_.swap(sorted);
    // Rows of one key, or of long keys with one prefix: usually few.
    for (size_t begin = 0; begin < entries_.size();) {
      size_t end = begin + 1;
      while (end < entries_.size() && entries_[end].prefix == entries_[begin].prefix) ++end;
      if (end - begin > 1) {
        std::sort(entries_.begin() + static_cast<ptrdiff_t>(begin), entries_.begin() + static_cast<ptrdiff_t>(end),
                  [this](const RunEntry& a, const RunEntry& b) { return Less(a, b); });
      }
      begin = end;
    }
  }

  // For sources that are each in order: pairs of neighbours, log2(sources) passes.
  void MergeEntries() {
    entries_.reserve(rows_);
    std::vector<size_t> begin;
    for (uint32_t source = 0; source < batches_.size(); ++source) {
      begin.push_back(entries_.size());
      AddEntries(source);
    }
    begin.push_back(entries_.size());
    std::vector<RunEntry> merged(entries_.size());
    const size_t sources = batches_.size();
    for (size_t width = 1; width < sources; width *= 2) {
      const auto at = [&](size_t source) {
        return entries_.begin() + static_cast<ptrdiff_t>(begin[std::min(source, sources)]);
      };
      for (size_t i = 0; i < sources; i += 2 * width) {
        std::merge(at(i), at(i + width), at(i + width), at(i + 2 * width),
                   merged.begin() + static_cast<ptrdiff_t>(begin[i]),
                   [this](const RunEntry& a, const RunEntry& b) { return Less(a, b); });
      }
      entries_.swap(merged);
    }
  }

  std::shared_ptr<const MemtableRun> Assemble() {
    auto run = std::shared_ptr<MemtableRun>(new MemtableRun());
    const size_t n = entries_.size();
    run->batch_.rows = n;
    run->batch_.columns.resize(schema_.columns.size());
    for (size_t c = 0; c < schema_.columns.size(); ++c) GatherColumn(c, &run->batch_.columns[c]);
    run->prefixes_.resize(n);
    run->batch_.seq.resize(n);
    run->min_seq_ = std::numeric_limits<uint64_t>::max();
    run->min_time_ = std::numeric_limits<int64_t>::max();
    run->max_time_ = std::numeric_limits<int64_t>::min();
    for (size_t i = 0; i < n; ++i) {
      const uint64_t seq = SeqOf(entries_[i]);
      run->prefixes_[i] = entries_[i].prefix;
      run->batch_.seq[i] = seq;
      run->min_seq_ = std::min(run->min_seq_, seq);
      run->max_seq_ = std::max(run->max_seq_, seq);
      run->min_time_ = std::min(run->min_time_, entries_[i].time);
      run->max_time_ = std::max(run->max_time_, entries_[i].time);
    }
    return run;
  }

 private:
  uint64_t SeqOf(const RunEntry& entry) const { return batches_[entry.source]->seq[entry.row]; }

  bool Less(const RunEntry& a, const RunEntry& b) const {
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

  void AddEntries(uint32_t source) {
    const ColumnBatch& batch = *batches_[source];
    for (size_t row = 0; row < batch.rows; ++row) {
      entries_.push_back({(*prefixes_[source])[row], TimeAt(schema_, batch, row), source, static_cast<uint32_t>(row)});
    }
  }

  template <typename T>
  void GatherFixed(size_t column, ColumnData* to) const {
    std::vector<const uint8_t*> values;
    for (const ColumnBatch* batch : batches_) values.push_back(batch->columns[column].values.data());
    to->values.resize(entries_.size() * sizeof(T));
    uint8_t* out = to->values.data();
    for (const RunEntry& entry : entries_) {
      std::memcpy(out, values[entry.source] + entry.row * sizeof(T), sizeof(T));
      out += sizeof(T);
    }
  }

  void GatherBytes(size_t column, ColumnData* to) const {
    to->offsets.resize(entries_.size() + 1);
    to->offsets[0] = 0;
    uint32_t total = 0;
    for (size_t i = 0; i < entries_.size(); ++i) {
      total += static_cast<uint32_t>(batches_[entries_[i].source]->columns[column].Bytes(entries_[i].row).size());
      to->offsets[i + 1] = total;
    }
    to->values.resize(total);
    for (size_t i = 0; i < entries_.size(); ++i) {
      const std::string_view bytes = batches_[entries_[i].source]->columns[column].Bytes(entries_[i].row);
      if (!bytes.empty()) std::memcpy(to->values.data() + to->offsets[i], bytes.data(), bytes.size());
    }
  }

  void GatherColumn(size_t column, ColumnData* to) const {
    switch (schema_.columns[column].width) {
      case 1:
        GatherFixed<uint8_t>(column, to);
        break;
      case 2:
        GatherFixed<uint16_t>(column, to);
        break;
      case 4:
        GatherFixed<uint32_t>(column, to);
        break;
      case 8:
        GatherFixed<uint64_t>(column, to);
        break;
      case 16:
        GatherFixed<__uint128_t>(column, to);
        break;
      default:
        GatherBytes(column, to);
    }
    const bool nulls = std::any_of(batches_.begin(), batches_.end(), [column](const ColumnBatch* batch) {
      return !batch->columns[column].valid.empty();
    });
    if (!nulls) return;
    to->valid.resize(entries_.size());
    for (size_t i = 0; i < entries_.size(); ++i) {
      to->valid[i] = batches_[entries_[i].source]->columns[column].IsNull(entries_[i].row) ? 0 : 1;
    }
  }

  const StoreSchema& schema_;
  const bool exact_;
  std::vector<const ColumnBatch*> batches_;
  std::vector<const RawVector<uint64_t>*> prefixes_;
  size_t rows_ = 0;
  std::vector<RunEntry> entries_;
};

std::shared_ptr<const MemtableRun> MemtableRun::Sort(const RowFormat& format, const StoreSchema& schema,
                                                     const Interners& interners,
                                                     const std::vector<std::shared_ptr<const MemtableBatch>>& batches,
                                                     const std::vector<std::shared_ptr<const SkipList>>& skiplists) {
  RunAssembler assembler(schema);
  for (const auto& batch : batches) assembler.AddSource(&batch->batch(), &batch->prefixes());
  std::vector<ColumnBatch> unpacked(skiplists.size());
  std::vector<RawVector<uint64_t>> prefixes(skiplists.size());
  for (size_t i = 0; i < skiplists.size(); ++i) {
    std::vector<const uint8_t*> rows;
    rows.reserve(skiplists[i]->rows());
    for (const SkipList::Node* node = skiplists[i]->First(); node != nullptr; node = node->Next(0)) {
      rows.push_back(node->row);
      unpacked[i].seq.push_back(node->order.seq);
      prefixes[i].push_back(node->order.prefix);
    }
    format.Unpack(interners, rows, &unpacked[i]);
    assembler.AddSource(&unpacked[i], &prefixes[i]);
  }
  assembler.SortEntries();
  return assembler.Assemble();
}

std::shared_ptr<const MemtableRun> MemtableRun::Merge(const StoreSchema& schema,
                                                      const std::vector<std::shared_ptr<const MemtableRun>>& runs) {
  RunAssembler assembler(schema);
  for (const auto& run : runs) assembler.AddSource(&run->batch_, &run->prefixes_);
  assembler.MergeEntries();
  return assembler.Assemble();
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
