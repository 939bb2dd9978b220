#include "events/memtable_run.h"

#include <algorithm>
#include <limits>

#include "events/key_prefixes.h"

namespace segue {

std::shared_ptr<const MemtableRun> MemtableRun::Copy(const OrderedRows& order) {
  auto run = std::shared_ptr<MemtableRun>(new MemtableRun());
  const RawVector<OrderedRows::Entry>& entries = order.entries();
  order.Gather(entries.data(), entries.size(), &run->batch_);
  run->prefixes_.resize(entries.size());
  run->min_seq_ = std::numeric_limits<uint64_t>::max();
  run->min_time_ = std::numeric_limits<int64_t>::max();
  run->max_time_ = std::numeric_limits<int64_t>::min();
  for (size_t i = 0; i < entries.size(); ++i) {
    const uint64_t seq = run->batch_.seq[i];
    run->prefixes_[i] = entries[i].prefix;
    run->min_seq_ = std::min(run->min_seq_, seq);
    run->max_seq_ = std::max(run->max_seq_, seq);
    run->min_time_ = std::min(run->min_time_, entries[i].time);
    run->max_time_ = std::max(run->max_time_, entries[i].time);
  }
  return run;
}

std::shared_ptr<const MemtableRun> MemtableRun::Sort(const RowFormat& format, const Interners& interners,
                                                     const std::vector<std::shared_ptr<const MemtableBatch>>& batches,
                                                     const std::vector<std::shared_ptr<const SkipList>>& skiplists,
                                                     OrderedRows* order) {
  order->Clear();
  for (const auto& batch : batches) order->AddSource(&batch->batch(), &batch->prefixes());
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
    order->AddSource(&unpacked[i], &prefixes[i]);
  }
  order->Sort();
  return Copy(*order);
}

std::shared_ptr<const MemtableRun> MemtableRun::Merge(const StoreSchema& schema,
                                                      const std::vector<std::shared_ptr<const MemtableRun>>& runs) {
  OrderedRows order(schema);
  for (const auto& run : runs) order.AddSource(&run->batch_, &run->prefixes_);
  order.Sort();
  return Copy(order);
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
