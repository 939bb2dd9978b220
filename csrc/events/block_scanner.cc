#include "events/block_scanner.h"

#include <algorithm>
#include <utility>

namespace segue {

BlockScanner::BlockScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec)
    : snapshot_(std::move(snapshot)), spec_(std::move(spec)), read_(spec_.wanted) {
  const StoreSchema& schema = snapshot_->core().schema;
  read_[static_cast<size_t>(schema.time)] = true;
  for (size_t c = 0; c < spec_.wanted.size(); ++c) {
    if (spec_.wanted[c] && schema.columns[c].width == 0) bytes_.push_back(c);
  }
}

size_t BlockScanner::Target() const {
  return static_cast<size_t>(std::min<uint64_t>(spec_.batch_rows, spec_.limit - returned_));
}

void BlockScanner::Reserve(ColumnBatch* out) const {
  const StoreSchema& schema = snapshot_->core().schema;
  const auto& tables = snapshot_->tables();
  const size_t most = Target();
  size_t rows = out->rows;
  for (size_t t = table_; t < tables.size() && rows < most; ++t) rows += tables[t]->meta().rows;
  rows = std::min(rows, most);
  for (size_t c = 0; c < spec_.wanted.size(); ++c) {
    if (!spec_.wanted[c]) continue;
    const auto width = static_cast<size_t>(schema.columns[c].width);
    if (width > 0) {
      out->columns[c].values.reserve(rows * width);
    } else {
      out->columns[c].offsets.reserve(rows + 1);
    }
  }
  if (spec_.sequences) out->seq.reserve(rows);
}

bool BlockScanner::FullOfStrings(const ColumnBatch& out) const {
  return std::any_of(bytes_.begin(), bytes_.end(),
                     [&](size_t c) { return out.columns[c].values.size() >= kMaxStringBytes; });
}

bool BlockScanner::FullBefore(size_t rows, const ColumnBatch& out) const {
  if (FullOfStrings(out)) return true;
  // A block is taken whole, or as far as the limit goes.
  return out.rows >= Target() || (out.rows > 0 && out.rows + rows > spec_.batch_rows);
}

size_t BlockScanner::EndOfPiece(const ColumnBatch& from, size_t begin, size_t end) const {
  for (const size_t c : bytes_) {
    const auto& offsets = from.columns[c].offsets;
    while (end - begin > 1 && offsets[end] - offsets[begin] > kMaxStringBytes) end = begin + (end - begin) / 2;
  }
  return end;
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
    AppendRows(schema, from, begin, end, spec_.wanted, out);
  } else if (!rows.empty()) {
    AppendRows(schema, from, rows.data(), rows.size(), spec_.wanted, out);
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
  if (rows.rows > 0) AppendRows(core.schema, rows, size_t{0}, rows.rows, spec_.wanted, out);
}

Status BlockScanner::Choose(const SstReader& table, const BlockInfo& info, const ScanBounds& bounds,
                            bool every_sequence, bool every_time) {
  ColumnData& times = whole_.columns[static_cast<size_t>(snapshot_->core().schema.time)];
  times.values.clear();
  if (!every_time) {
    SEGUE_RETURN_IF_ERROR(
        table.Decode(encoded_, static_cast<size_t>(snapshot_->core().schema.time), 0, info.rows, &times));
  }
  whole_.seq.clear();
  if (!every_sequence) SEGUE_RETURN_IF_ERROR(table.DecodeSequences(encoded_, 0, info.rows, &whole_.seq));
  chosen_.resize(info.rows);
  size_t n = 0;
  for (uint32_t row = 0; row < info.rows; ++row) {
    chosen_[n] = row;
    const bool take = (every_sequence || bounds.TakeSequence(whole_.seq[row])) &&
                      (every_time || bounds.TakeTime(times.Get<int64_t>(row)));
    n += take ? 1 : 0;
  }
  chosen_.resize(n);
  return {};
}

Status BlockScanner::DecodeRows(const SstReader& table, size_t begin, size_t end, ColumnBatch* out) const {
  for (size_t c = 0; c < spec_.wanted.size(); ++c) {
    if (spec_.wanted[c]) SEGUE_RETURN_IF_ERROR(table.Decode(encoded_, c, begin, end, &out->columns[c]));
  }
  if (spec_.sequences) SEGUE_RETURN_IF_ERROR(table.DecodeSequences(encoded_, begin, end, &out->seq));
  out->rows += end - begin;
  return {};
}

Status BlockScanner::TakeBlock(const SstReader& table, size_t block, const ScanBounds& bounds, ColumnBatch* out) {
  const BlockInfo& info = table.blocks()[block];
  const bool every_sequence = bounds.TakeAllSequences(info);
  const bool every_time = bounds.TakeAllTimes(info);
  ReadCounts counts;
  SEGUE_RETURN_IF_ERROR(table.Fetch(block, every_time ? spec_.wanted : read_, spec_.sequences || !every_sequence, false,
                                    &encoded_, &counts));
  const size_t most = Target() - std::min(Target(), out->rows);
  if (every_sequence && every_time) return DecodeRows(table, 0, std::min<size_t>(info.rows, most), out);
  whole_.columns.resize(read_.size());
  SEGUE_RETURN_IF_ERROR(Choose(table, info, bounds, every_sequence, every_time));
  if (chosen_.size() > most) chosen_.resize(most);
  if (chosen_.empty()) return {};
  const size_t begin = chosen_.front();
  if (chosen_.back() - begin + 1 == chosen_.size()) return DecodeRows(table, begin, begin + chosen_.size(), out);
  whole_.rows = 0;
  whole_.seq.clear();
  for (ColumnData& column : whole_.columns) {
    column.values.clear();
    column.offsets.clear();
    column.valid.clear();
  }
  SEGUE_RETURN_IF_ERROR(DecodeRows(table, 0, info.rows, &whole_));
  AppendRows(snapshot_->core().schema, whole_, chosen_.data(), chosen_.size(), spec_.wanted, out);
  return {};
}

Result<bool> BlockScanner::Fill(ColumnBatch* out) {
  const auto& memtables = snapshot_->memtables();
  const auto& tables = snapshot_->tables();
  bool reserved = false;
  while (out->rows < Target()) {
    if (memtable_ < memtables.size()) {
      if (FullOfStrings(*out)) break;
      const MemtableView& memtable = memtables[memtable_];
      const size_t runs = memtable.runs.size();
      if (part_ < runs + memtable.batches.size()) {
        const ColumnBatch& rows =
            part_ < runs ? memtable.runs[part_]->batch() : memtable.batches[part_ - runs]->batch();
        size_t end = rows.rows;
        if (part_ >= runs || spec_.TakeSome(ZoneOf(*memtable.runs[part_]))) {
          end = EndOfPiece(rows, row_, std::min(rows.rows, row_ + spec_.batch_rows - out->rows));
          Take(spec_, rows, row_, end, out);
        }
        row_ = end;
        if (row_ == rows.rows) {
          ++part_;
          row_ = 0;
        }
      } else {
        for (const auto& list : memtable.skiplists) TakeSkipList(*list, out);
        ++memtable_;
        part_ = 0;
      }
    } else if (table_ < tables.size()) {
      const SstReader& table = *tables[table_];
      const ScanBounds bounds = spec_.In(table);
      if (block_ == table.blocks().size() || (block_ == 0 && !bounds.TakeSome(table.meta()))) {
        ++table_;
        block_ = 0;
        continue;
      }
      const BlockInfo& block = table.blocks()[block_];
      if (bounds.TakeSome(block)) {
        if (FullBefore(block.rows, *out)) break;
        if (!std::exchange(reserved, true)) Reserve(out);
        SEGUE_RETURN_IF_ERROR(TakeBlock(table, block_, bounds, out));
      }
      ++block_;
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
  if (!spec_.sequences) out->seq.clear();  // rows of a memtable bring theirs
  if (returned_ + out->rows > spec_.limit) {
    ColumnBatch cut;
    AppendRows(schema, *out, size_t{0}, static_cast<size_t>(spec_.limit - returned_), spec_.wanted, &cut);
    *out = std::move(cut);
  }
  returned_ += out->rows;
  return true;
}

}  // namespace segue
