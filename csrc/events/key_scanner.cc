#include "events/key_scanner.h"

#include <algorithm>
#include <utility>

#include "events/row_gather.h"

namespace segue {

namespace {

// The first row in [lo, hi) for which `after` holds; it must hold for all that follow one for which it does.
template <typename After>
size_t FirstRow(size_t lo, size_t hi, After after) {
  while (lo < hi) {
    const size_t middle = lo + (hi - lo) / 2;
    if (after(middle)) {
      hi = middle;
    } else {
      lo = middle + 1;
    }
  }
  return lo;
}

}  // namespace

KeyScanner::KeyScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec)
    : snapshot_(std::move(snapshot)),
      spec_(std::move(spec)),
      hash_(KeyHash(*spec_.key)),
      key_columns_(spec_.wanted.size()),
      read_(spec_.wanted) {
  const StoreSchema& schema = snapshot_->core().schema;
  for (const int c : schema.key) key_columns_[static_cast<size_t>(c)] = read_[static_cast<size_t>(c)] = true;
  read_[static_cast<size_t>(schema.time)] = true;
  for (size_t c = 0; c < spec_.wanted.size(); ++c) {
    if (spec_.wanted[c] && schema.columns[c].width == 0) bytes_.push_back(c);
  }
  if (spec_.limit == 0) return;
  for (const MemtableView& memtable : snapshot_->memtables()) AddMemtable(memtable);
  sources_.reserve(sources_.size() + snapshot_->tables().size());
  heap_.reserve(sources_.capacity());
  for (const auto& table : snapshot_->tables()) {
    const SstMeta& meta = table->meta();
    if (*spec_.key < meta.first_key || *spec_.key > meta.last_key) continue;
    const ScanBounds bounds = spec_.In(*table);
    if (!bounds.TakeSome(meta)) continue;
    Source& source = sources_.emplace_back();
    source.table = table.get();
    source.bounds = bounds;
    table->PrefetchKey(hash_);
    PushBound(static_cast<uint32_t>(sources_.size() - 1), meta);
  }
}

// ---- the merge ------------------------------------------------------------

void KeyScanner::Push(const Head& head) {
  heap_.push_back(head);
  std::push_heap(heap_.begin(), heap_.end(), [this](const Head& a, const Head& b) { return Before(b, a); });
}

KeyScanner::Head KeyScanner::Pop() {
  std::pop_heap(heap_.begin(), heap_.end(), [this](const Head& a, const Head& b) { return Before(b, a); });
  const Head head = heap_.back();
  heap_.pop_back();
  return head;
}

void KeyScanner::PushPiece(uint32_t source) {
  const Piece& piece = sources_[source].piece;
  const size_t row = spec_.descending ? piece.end - 1 : piece.at;
  Push({TimeAt(snapshot_->core().schema, *piece.rows, row), piece.rows->seq[row], source, true});
}

// Rows of one key in a memtable; cut to the times that are wanted.
void KeyScanner::AddPiece(std::shared_ptr<const ColumnBatch> rows, size_t begin, size_t end, bool every_sequence) {
  const StoreSchema& schema = snapshot_->core().schema;
  begin = FirstRow(begin, end, [&](size_t row) { return TimeAt(schema, *rows, row) >= spec_.since; });
  if (!spec_.until_open) {
    end = FirstRow(begin, end, [&](size_t row) { return TimeAt(schema, *rows, row) >= spec_.until; });
  }
  if (begin == end) return;
  sources_.emplace_back().piece = {std::move(rows), begin, end, every_sequence};
  PushPiece(static_cast<uint32_t>(sources_.size() - 1));
}

Status KeyScanner::Merge(std::vector<Pick>* picks, std::vector<std::shared_ptr<const ColumnBatch>>* kept) {
  const uint64_t most = std::min<uint64_t>(spec_.batch_rows, spec_.limit - returned_);
  size_t bytes = 0;  // of strings
  while (picks->size() < most && bytes < kMaxStringBytes && !heap_.empty()) {
    Head head = Pop();
    if (!head.exact) {
      SEGUE_RETURN_IF_ERROR(Open(head.source));
      continue;
    }
    // Rows of this source, for as long as none of another comes before them.
    Piece& piece = sources_[head.source].piece;
    const StoreSchema& schema = snapshot_->core().schema;
    for (;;) {
      const size_t row = spec_.descending ? --piece.end : piece.at++;
      const uint64_t seq = piece.rows->seq[row];
      if (piece.every_sequence || spec_.TakeSequence(seq)) {
        if (kept->empty() || kept->back() != piece.rows) kept->push_back(piece.rows);
        picks->push_back({static_cast<uint32_t>(kept->size() - 1), static_cast<uint32_t>(row)});
        for (const size_t c : bytes_) bytes += piece.rows->columns[c].Bytes(row).size();
      }
      if (piece.at == piece.end) {
        piece = Piece();
        PushNextBlock(head.source);
        break;
      }
      const size_t next = spec_.descending ? piece.end - 1 : piece.at;
      head.time = TimeAt(schema, *piece.rows, next);
      head.seq = piece.rows->seq[next];
      if (picks->size() == most || bytes >= kMaxStringBytes || (!heap_.empty() && Before(heap_.front(), head))) {
        Push(head);
        break;
      }
    }
  }
  return {};
}

Result<bool> KeyScanner::Next(ColumnBatch* out) {
  if (returned_ >= spec_.limit) return false;
  std::vector<Pick> picks;
  std::vector<std::shared_ptr<const ColumnBatch>> kept;
  const Status merged = Merge(&picks, &kept);
  snapshot_->core().reads.Add(std::exchange(counts_, {}));
  SEGUE_RETURN_IF_ERROR(merged);
  if (fetched_ && FetchedIsFull(1)) fetched_.reset();
  if (picks.empty()) return false;
  returned_ += picks.size();
  std::vector<const ColumnBatch*> sources;
  sources.reserve(kept.size());
  for (const auto& rows : kept) sources.push_back(rows.get());
  *out = ColumnBatch();
  GatherSome(
      snapshot_->core().schema, sources, picks.data(), picks.size(), [this](size_t c) { return spec_.wanted[c]; },
      spec_.sequences, out);
  return true;
}

// ---- memtables ------------------------------------------------------------

void KeyScanner::AddMemtable(const MemtableView& memtable) {
  const StoreSchema& schema = snapshot_->core().schema;
  for (const auto& run : memtable.runs) {
    if (!spec_.TakeSome(ZoneOf(*run))) continue;
    const auto [begin, end] = run->FindKey(schema, *spec_.key);
    if (begin == end) continue;
    AddPiece({run, &run->batch()}, begin, end, spec_.TakeAllSequences(ZoneOf(*run)));
  }
  for (const auto& batch : memtable.batches) {
    if (!spec_.TakeSome(ZoneOf(*batch))) continue;
    std::vector<uint32_t> rows = batch->FindKey(schema, *spec_.key);
    if (rows.empty()) continue;
    // In order of arrival; sequences rise with it.
    std::stable_sort(rows.begin(), rows.end(), [&](uint32_t a, uint32_t b) {
      return TimeAt(schema, batch->batch(), a) < TimeAt(schema, batch->batch(), b);
    });
    auto sorted = std::make_shared<ColumnBatch>();
    AppendRows(schema, batch->batch(), rows.data(), rows.size(), read_, sorted.get());
    AddPiece(std::move(sorted), 0, rows.size(), spec_.TakeAllSequences(ZoneOf(*batch)));
  }
  for (const auto& list : memtable.skiplists) AddSkipList(*list);
}

void KeyScanner::AddSkipList(const SkipList& list) {
  const StoreCore& core = snapshot_->core();
  const uint64_t prefix = KeyPrefix(*spec_.key);
  std::vector<const uint8_t*> packed;
  auto rows = std::make_shared<ColumnBatch>();
  const SkipList::Node* node = list.Seek({prefix, *spec_.key, spec_.since, 0});
  for (; node != nullptr; node = node->Next(0)) {
    const RowOrder& order = node->order;
    if (CompareKeys(order.prefix, order.key, prefix, *spec_.key) != 0) break;
    if (!spec_.Take(order.seq, order.time)) continue;  // the list may have grown since the snapshot
    packed.push_back(node->row);
    rows->seq.push_back(order.seq);
  }
  if (packed.empty()) return;
  core.format.Unpack(core.interners, packed, rows.get());
  AddPiece(std::move(rows), 0, packed.size(), true);
}

// ---- SSTables -------------------------------------------------------------

void KeyScanner::SearchTable(Source* source) {
  source->searched = true;
  ++counts_.bloom_probes;
  if (!source->table->MayContainKey(hash_)) {
    ++counts_.bloom_useful;
    source->found = true;  // nothing false about it
    return;
  }
  std::tie(source->first, source->end) = source->table->BlocksOfKey(*spec_.key);
}

void KeyScanner::PushNextBlock(uint32_t number) {
  Source& source = sources_[number];
  if (source.table == nullptr) return;
  for (; source.first < source.end; spec_.descending ? --source.end : ++source.first) {
    const BlockInfo& block = source.table->blocks()[spec_.descending ? source.end - 1 : source.first];
    if (source.bounds.TakeSome(block)) {
      PushBound(number, block);
      return;
    }
    source.skipped = true;
  }
  if (!source.found && !source.skipped) ++counts_.bloom_false_positives;
}

Status KeyScanner::Open(uint32_t number) {
  Source& source = sources_[number];
  if (!source.searched) {
    SearchTable(&source);
  } else {
    SEGUE_RETURN_IF_ERROR(ReadBlock(&source, spec_.descending ? --source.end : source.first++));
    if (source.piece.at < source.piece.end) {
      PushPiece(number);
      return {};
    }
  }
  PushNextBlock(number);
  return {};
}

// Rows [*begin, *end) of the fetched block have the key.
Status KeyScanner::FindKey(const SstReader& table, const BlockInfo& info, size_t* begin, size_t* end) {
  const StoreSchema& schema = snapshot_->core().schema;
  *begin = 0;
  *end = info.rows;
  const std::string& wanted = *spec_.key;
  if (info.first_key == wanted && info.last_key == wanted) return {};
  keys_.rows = info.rows;
  keys_.columns.resize(schema.columns.size());
  for (const int key : schema.key) {
    const auto c = static_cast<size_t>(key);
    keys_.columns[c].values.clear();
    keys_.columns[c].offsets.clear();
    SEGUE_RETURN_IF_ERROR(table.Decode(encoded_, c, 0, info.rows, &keys_.columns[c]));
  }
  std::string key;
  const auto compare = [&](size_t row) {
    key.clear();
    EncodeKey(schema, keys_, row, &key);
    return key.compare(wanted);
  };
  *begin = FirstRow(0, info.rows, [&](size_t row) { return compare(row) >= 0; });
  *end = FirstRow(*begin, info.rows, [&](size_t row) { return compare(row) > 0; });
  return {};
}

Status KeyScanner::ReadBlock(Source* source, size_t block) {
  const SstReader& table = *source->table;
  const BlockInfo& info = table.blocks()[block];
  SEGUE_RETURN_IF_ERROR(table.FetchOfKey(block, *spec_.key, hash_, read_, true, &encoded_, &counts_));
  size_t begin = 0;
  size_t end = encoded_.rows();
  if (!encoded_.slice()) {
    SEGUE_RETURN_IF_ERROR(FindKey(table, info, &begin, &end));
    SEGUE_RETURN_IF_ERROR(table.KeepSlice(*spec_.key, hash_, begin, end, &slices_, &encoded_));
    if (encoded_.slice()) {
      begin = 0;
      end = encoded_.rows();
    }
  }
  if (begin == end) return {};
  source->found = true;

  const auto time = static_cast<size_t>(snapshot_->core().schema.time);
  times_.values.clear();
  SEGUE_RETURN_IF_ERROR(table.Decode(encoded_, time, begin, end, &times_));
  const size_t from = begin;
  const auto time_at = [&](size_t row) { return times_.Get<int64_t>(row - from); };
  begin = FirstRow(begin, end, [&](size_t row) { return time_at(row) >= source->bounds.since; });
  if (!spec_.until_open) end = FirstRow(begin, end, [&](size_t row) { return time_at(row) >= spec_.until; });
  const bool every_sequence = spec_.TakeAllSequences(info);
  if (every_sequence) {
    // No more than can still be returned.
    const auto most = static_cast<size_t>(std::min<uint64_t>(end - begin, spec_.limit - returned_));
    spec_.descending ? begin = end - most : end = begin + most;
  }
  if (begin == end) return {};

  const std::shared_ptr<ColumnBatch>& rows = RoomFor(end - begin);
  const size_t first = rows->rows;
  const uint8_t* times = times_.values.data();
  auto& kept_times = rows->columns[time].values;
  kept_times.insert(kept_times.end(), times + (begin - from) * sizeof(int64_t), times + (end - from) * sizeof(int64_t));
  for (size_t c = 0; c < read_.size(); ++c) {
    if (c == time || !spec_.wanted[c]) continue;
    SEGUE_RETURN_IF_ERROR(table.Decode(encoded_, c, begin, end, &rows->columns[c]));
  }
  SEGUE_RETURN_IF_ERROR(table.DecodeSequences(encoded_, begin, end, &rows->seq));
  rows->rows += end - begin;
  source->piece = {rows, first, rows->rows, every_sequence};
  return {};
}

bool KeyScanner::FetchedIsFull(size_t more) const {
  constexpr size_t kRows = 4096;
  constexpr size_t kStringBytes = 1 << 20;
  return fetched_->rows + more > kRows || std::any_of(bytes_.begin(), bytes_.end(), [&](size_t c) {
           return fetched_->columns[c].values.size() >= kStringBytes;
         });
}

const std::shared_ptr<ColumnBatch>& KeyScanner::RoomFor(size_t rows) {
  if (fetched_ && !FetchedIsFull(rows)) return fetched_;
  fetched_ = std::make_shared<ColumnBatch>();
  fetched_->columns.resize(read_.size());
  // What a read of one key returns, as a rule; or all that is known to come.
  const size_t room = std::max<size_t>(rows, static_cast<size_t>(std::min<uint64_t>(64, spec_.limit - returned_)));
  for (size_t c = 0; c < read_.size(); ++c) {
    const auto width = static_cast<size_t>(snapshot_->core().schema.columns[c].width);
    if (read_[c] && width > 0) fetched_->columns[c].values.reserve(room * width);
  }
  fetched_->seq.reserve(room);
  return fetched_;
}

}  // namespace segue
