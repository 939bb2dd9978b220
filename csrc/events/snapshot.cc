#include "events/snapshot.h"

#include <algorithm>

namespace segue {

StoreCore::StoreCore(std::shared_ptr<Env> env_in, std::string dir_in, StoreSchema schema_in)
    : env(std::move(env_in)),
      dir(std::move(dir_in)),
      schema(std::move(schema_in)),
      format(&schema),
      interners(MakeInterners(schema)) {}

Scanner::Scanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec)
    : snapshot_(std::move(snapshot)), spec_(std::move(spec)), upto_(std::min(spec_.upto_seq, snapshot_->seq_)) {
  const StoreSchema& schema = snapshot_->core_->schema;
  if (spec_.wanted.empty()) spec_.wanted.assign(schema.columns.size(), true);
  read_ = spec_.wanted;
  read_[static_cast<size_t>(schema.time)] = true;
  if (spec_.key.has_value()) {
    for (const int c : schema.key) read_[static_cast<size_t>(c)] = true;
  }
}

bool Scanner::MayOverlap(uint64_t min_seq, uint64_t max_seq, int64_t min_time, int64_t max_time) const {
  return max_seq > spec_.after_seq && min_seq <= upto_ && max_time >= spec_.since &&
         (spec_.until_open || min_time < spec_.until);
}

void Scanner::Take(const ColumnBatch& from, size_t begin, size_t end, ColumnBatch* out, int64_t visible_from) const {
  const StoreSchema& schema = snapshot_->core_->schema;
  std::vector<uint32_t> rows;
  rows.reserve(end - begin);
  for (size_t row = begin; row < end; ++row) {
    const int64_t time = TimeAt(schema, from, row);
    if (time >= visible_from && Wants(from.seq[row], time)) rows.push_back(static_cast<uint32_t>(row));
  }
  if (rows.size() == end - begin) {
    AppendRows(schema, from, begin, end, read_, out);
  } else if (!rows.empty()) {
    AppendRows(schema, from, rows.data(), rows.size(), read_, out);
  }
}

void Scanner::TakeSkipList(const SkipList& list, ColumnBatch* out) const {
  const StoreCore& core = *snapshot_->core_;
  const SkipList::Node* node = nullptr;
  if (spec_.key.has_value()) {
    node = list.Seek({KeyPrefix(*spec_.key), *spec_.key, spec_.since, 0});
  } else {
    node = list.First();
  }
  std::vector<const uint8_t*> packed;
  ColumnBatch rows;
  for (; node != nullptr; node = node->Next(0)) {
    const RowOrder& order = node->order;
    if (spec_.key.has_value() && CompareKeys(order.prefix, order.key, KeyPrefix(*spec_.key), *spec_.key) != 0) break;
    if (!Wants(order.seq, order.time)) continue;
    packed.push_back(node->row);
    rows.seq.push_back(order.seq);
  }
  core.format.Unpack(core.interners, packed, &rows);
  if (rows.rows > 0) AppendRows(core.schema, rows, size_t{0}, rows.rows, read_, out);
}

Status Scanner::TakeKeyFromTable(const SstReader& table, ColumnBatch* out) {
  const StoreSchema& schema = snapshot_->core_->schema;
  const std::string& key = *spec_.key;
  const SstMeta& meta = table.meta();
  if (key < meta.first_key || key > meta.last_key) return {};
  if (!MayOverlap(meta.min_seq, meta.max_seq, meta.min_time, meta.max_time)) return {};
  ++bloom_probes_;
  if (!table.MayContainKey(KeyHash(key))) {
    ++bloom_useful_;
    return {};
  }
  const std::vector<BlockInfo>& blocks = table.blocks();
  auto block = std::lower_bound(blocks.begin(), blocks.end(), key,
                                [](const BlockInfo& b, const std::string& k) { return b.last_key < k; });
  std::string row_key;
  for (; block != blocks.end() && block->first_key <= key; ++block) {
    if (!MayOverlap(block->min_seq, block->max_seq, block->min_time, block->max_time)) continue;
    ColumnBatch rows;
    SEGUE_RETURN_IF_ERROR(table.ReadBlock(static_cast<size_t>(block - blocks.begin()), read_, &rows));
    const auto bound = [&](bool upper) {
      size_t lo = 0;
      size_t hi = rows.rows;
      while (lo < hi) {
        const size_t middle = lo + (hi - lo) / 2;
        row_key.clear();
        EncodeKey(schema, rows, middle, &row_key);
        const int order = row_key.compare(key);
        if (order < 0 || (upper && order == 0)) {
          lo = middle + 1;
        } else {
          hi = middle;
        }
      }
      return lo;
    };
    const size_t begin = bound(false);
    Take(rows, begin, bound(true), out, table.visible_from());
  }
  return {};
}

Status Scanner::CollectKey(ColumnBatch* out) {
  const StoreSchema& schema = snapshot_->core_->schema;
  ColumnBatch found;
  found.columns.resize(schema.columns.size());
  for (const MemtableView& memtable : snapshot_->memtables_) {
    for (const auto& run : memtable.runs) {
      if (!MayOverlap(run->min_seq(), run->max_seq(), run->min_time(), run->max_time())) continue;
      const auto [begin, end] = run->FindKey(schema, *spec_.key);
      Take(run->batch(), begin, end, &found);
    }
    for (const auto& batch : memtable.batches) {
      if (!MayOverlap(batch->min_seq(), batch->max_seq(), batch->min_time(), batch->max_time())) continue;
      for (const uint32_t row : batch->FindKey(schema, *spec_.key)) Take(batch->batch(), row, row + 1, &found);
    }
    for (const auto& list : memtable.skiplists) TakeSkipList(*list, &found);
  }
  for (const auto& table : snapshot_->tables_) SEGUE_RETURN_IF_ERROR(TakeKeyFromTable(*table, &found));

  std::vector<uint32_t> order(found.rows);
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<uint32_t>(i);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int64_t a_time = TimeAt(schema, found, a);
    const int64_t b_time = TimeAt(schema, found, b);
    return a_time != b_time ? a_time < b_time : found.seq[a] < found.seq[b];
  });
  if (spec_.descending) std::reverse(order.begin(), order.end());
  if (order.size() > spec_.limit) order.resize(static_cast<size_t>(spec_.limit));
  AppendRows(schema, found, order.data(), order.size(), spec_.wanted, out);
  return {};
}

Result<bool> Scanner::NextUnordered(ColumnBatch* out) {
  while (out->rows < spec_.batch_rows) {
    if (memtable_ < snapshot_->memtables_.size()) {
      const MemtableView& memtable = snapshot_->memtables_[memtable_];
      if (run_ < memtable.runs.size()) {
        const MemtableRun& run = *memtable.runs[run_];
        const bool overlaps = MayOverlap(run.min_seq(), run.max_seq(), run.min_time(), run.max_time());
        const size_t end = overlaps ? std::min(run.rows(), row_ + spec_.batch_rows - out->rows) : run.rows();
        if (overlaps) Take(run.batch(), row_, end, out);
        row_ = end;
        if (row_ == run.rows()) {
          ++run_;
          row_ = 0;
        }
      } else {
        for (const auto& batch : memtable.batches) Take(batch->batch(), 0, batch->rows(), out);
        for (const auto& list : memtable.skiplists) TakeSkipList(*list, out);
        ++memtable_;
        run_ = 0;
      }
    } else if (table_ < snapshot_->tables_.size()) {
      const SstReader& table = *snapshot_->tables_[table_];
      const SstMeta& meta = table.meta();
      if (block_ == table.blocks().size() ||
          (block_ == 0 && !MayOverlap(meta.min_seq, meta.max_seq, meta.min_time, meta.max_time))) {
        ++table_;
        block_ = 0;
        continue;
      }
      const BlockInfo& block = table.blocks()[block_++];
      if (!MayOverlap(block.min_seq, block.max_seq, block.min_time, block.max_time)) continue;
      ColumnBatch rows;
      SEGUE_RETURN_IF_ERROR(table.ReadBlock(block_ - 1, read_, &rows));
      Take(rows, 0, rows.rows, out, table.visible_from());
    } else {
      done_ = true;
      break;
    }
  }
  return out->rows > 0;
}

Result<bool> Scanner::Next(ColumnBatch* out) {
  *out = ColumnBatch();
  const StoreSchema& schema = snapshot_->core_->schema;
  out->columns.resize(schema.columns.size());
  if (done_ || returned_ >= spec_.limit) return false;
  if (spec_.key.has_value()) {
    done_ = true;
    SEGUE_RETURN_IF_ERROR(CollectKey(out));
    return out->rows > 0;
  }
  SEGUE_ASSIGN_OR_RETURN(const bool more, NextUnordered(out));
  if (!more) return false;
  if (returned_ + out->rows > spec_.limit) {
    ColumnBatch cut;
    AppendRows(schema, *out, size_t{0}, static_cast<size_t>(spec_.limit - returned_), spec_.wanted, &cut);
    *out = std::move(cut);
  }
  returned_ += out->rows;
  return true;
}

}  // namespace segue
