#include "events/block_scanner.h"

#include <algorithm>
#include <utility>

namespace segue {

BlockScanner::BlockScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec)
    : snapshot_(std::move(snapshot)), spec_(std::move(spec)), read_(spec_.wanted) {
  read_[static_cast<size_t>(snapshot_->core().schema.time)] = true;
}

void BlockScanner::Take(const ScanBounds& bounds, const ColumnBatch& from, size_t begin, size_t end,
                        ColumnBatch* out) const {
  const StoreSchema& schema = snapshot_->core().schema;
  std::vector<uint32_t> rows;
  rows.reserve(end - begin);
  for (size_t row = begin; row < end; ++row) {
    if (bounds.Take(from.seq[row], TimeAt(schema, from, row))) rows.push_back(static_cast<uint32_t>(row));
  }
  if (rows.size() == end - begin) {
    AppendRows(schema, from, begin, end, read_, out);
  } else if (!rows.empty()) {
    AppendRows(schema, from, rows.data(), rows.size(), read_, out);
  }
}

void BlockScanner::TakeSkipList(const SkipList& list, ColumnBatch* out) const {
  const StoreCore& core = snapshot_->core();
  std::vector<const uint8_t*> packed;
  ColumnBatch rows;
  for (const SkipList::Node* node = list.First(); node != nullptr; node = node->Next(0)) {
    if (!spec_.Take(node->order.seq, node->order.time)) continue;
    packed.push_back(node->row);
    rows.seq.push_back(node->order.seq);
  }
  core.format.Unpack(core.interners, packed, &rows);
  if (rows.rows > 0) AppendRows(core.schema, rows, size_t{0}, rows.rows, read_, out);
}

Result<bool> BlockScanner::Fill(ColumnBatch* out) {
  const auto& memtables = snapshot_->memtables();
  const auto& tables = snapshot_->tables();
  while (out->rows < spec_.batch_rows) {
    if (memtable_ < memtables.size()) {
      const MemtableView& memtable = memtables[memtable_];
      if (run_ < memtable.runs.size()) {
        const MemtableRun& run = *memtable.runs[run_];
        const bool some = spec_.TakeSome(ZoneOf(run));
        const size_t end = some ? std::min(run.rows(), row_ + spec_.batch_rows - out->rows) : run.rows();
        if (some) Take(spec_, run.batch(), row_, end, out);
        row_ = end;
        if (row_ == run.rows()) {
          ++run_;
          row_ = 0;
        }
      } else {
        for (const auto& batch : memtable.batches) Take(spec_, batch->batch(), 0, batch->rows(), out);
        for (const auto& list : memtable.skiplists) TakeSkipList(*list, out);
        ++memtable_;
        run_ = 0;
      }
    } else if (table_ < tables.size()) {
      const SstReader& table = *tables[table_];
      const ScanBounds bounds = spec_.In(table);
      if (block_ == table.blocks().size() || (block_ == 0 && !bounds.TakeSome(table.meta()))) {
        ++table_;
        block_ = 0;
        continue;
      }
      const BlockInfo& block = table.blocks()[block_++];
      if (!bounds.TakeSome(block)) continue;
      ColumnBatch rows;
      SEGUE_RETURN_IF_ERROR(table.ReadBlock(block_ - 1, read_, &rows));
      Take(bounds, rows, 0, rows.rows, out);
    } else {
      done_ = true;
      break;
    }
  }
  return out->rows > 0;
}

Result<bool> BlockScanner::Next(ColumnBatch* out) {
  *out = ColumnBatch();
  const StoreSchema& schema = snapshot_->core().schema;
  out->columns.resize(schema.columns.size());
  if (done_ || returned_ >= spec_.limit) return false;
  SEGUE_ASSIGN_OR_RETURN(const bool more, Fill(out));
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
