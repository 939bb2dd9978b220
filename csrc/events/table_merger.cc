#include "events/table_merger.h"

#include "events/key_prefixes.h"
#include "events/row_gather.h"

namespace segue {
namespace {

// Rows, and bytes of their strings, that are copied at a time.
constexpr size_t kBatchRows = 4096;
constexpr size_t kBatchBytes = 1 << 20;

}  // namespace

TableMerger::TableMerger(const StoreSchema* schema, const std::vector<std::shared_ptr<const SstReader>>& tables,
                         std::string from)
    : schema_(schema), exact_(PrefixIsExact(*schema)), from_(std::move(from)), inputs_(tables.size()) {
  for (size_t i = 0; i < tables.size(); ++i) {
    inputs_[i].table = tables[i];
    if (!from_.empty()) inputs_[i].next_block = tables[i]->BlocksOfKey(from_).first;
  }
  for (size_t c = 0; c < schema->columns.size(); ++c) {
    if (schema->columns[c].width == 0) byte_columns_.push_back(c);
  }
}

Result<bool> TableMerger::NextBlock(Input* input) {
  const std::vector<BlockInfo>& infos = input->table->blocks();
  while (input->next_block < infos.size() && infos[input->next_block].max_time < input->table->visible_from()) {
    ++input->next_block;
  }
  if (input->next_block == infos.size()) return false;
  if (free_.empty()) {
    free_.push_back(static_cast<uint32_t>(blocks_.size()));
    blocks_.push_back(std::make_unique<Block>());
  }
  input->block = free_.back();
  free_.pop_back();
  Block& block = *blocks_[input->block];
  bytes_read_ += infos[input->next_block].size;
  SEGUE_RETURN_IF_ERROR(input->table->ReadBlock(input->next_block++, {}, &scratch_, &block.rows));
  KeyPrefixes(*schema_, block.rows, &block.prefixes);
  input->row = 0;
  return true;
}

Status TableMerger::Advance(Input* input, bool first) {
  const auto time_column = static_cast<size_t>(schema_->time);
  const int64_t visible_from = input->table->visible_from();
  bool have = !first;
  if (have) ++input->row;
  for (;;) {
    if (!have || input->row == blocks_[input->block]->rows.rows) {
      if (have) (blocks_[input->block]->named ? spent_ : free_).push_back(input->block);
      SEGUE_ASSIGN_OR_RETURN(have, NextBlock(input));
      if (!have) {
        input->done = true;
        return {};
      }
    }
    const Block& block = *blocks_[input->block];
    input->time = block.rows.columns[time_column].Get<int64_t>(input->row);
    bool wanted = input->time >= visible_from;
    if (wanted && first && !from_.empty()) {
      input->has_key = false;
      wanted = KeyOf(input) >= from_;
    }
    if (wanted) {
      input->prefix = block.prefixes[input->row];
      input->seq = block.rows.seq[input->row];
      input->has_key = false;
      return {};
    }
    ++input->row;
  }
}

const std::string& TableMerger::KeyOf(Input* input) {
  if (!input->has_key) {
    input->key.clear();
    EncodeKey(*schema_, blocks_[input->block]->rows, input->row, &input->key);
    input->has_key = true;
  }
  return input->key;
}

bool TableMerger::Less(uint32_t a, uint32_t b) {
  Input& x = inputs_[a];
  Input& y = inputs_[b];
  if (x.done || y.done) return !x.done;
  if (x.prefix != y.prefix) return x.prefix < y.prefix;
  if (!exact_) {
    if (const int order = KeyOf(&x).compare(KeyOf(&y)); order != 0) return order < 0;
  }
  return x.time != y.time ? x.time < y.time : x.seq < y.seq;
}

// The winner below a node; inner nodes are 1 to k - 1, leaf i is node k + i.
uint32_t TableMerger::Play(size_t node) {
  if (node >= inputs_.size()) return static_cast<uint32_t>(node - inputs_.size());
  const uint32_t left = Play(2 * node);
  const uint32_t right = Play(2 * node + 1);
  const bool left_wins = Less(left, right);
  losers_[node] = left_wins ? right : left;
  return left_wins ? left : right;
}

Status TableMerger::Start() {
  started_ = true;
  for (Input& input : inputs_) SEGUE_RETURN_IF_ERROR(Advance(&input, true));
  losers_.resize(inputs_.size());
  losers_[0] = Play(1);
  return {};
}

size_t TableMerger::BytesOf(const Input& input) const {
  size_t bytes = 0;
  for (const size_t c : byte_columns_) bytes += blocks_[input.block]->rows.columns[c].Bytes(input.row).size();
  return bytes;
}

Result<bool> TableMerger::Next(ColumnBatch* out) {
  if (inputs_.empty()) return false;
  if (!started_) SEGUE_RETURN_IF_ERROR(Start());
  entries_.clear();
  size_t bytes = 0;
  // Where most rows have expired, entries name many blocks.
  while (entries_.size() < kBatchRows && bytes < kBatchBytes && spent_.size() <= inputs_.size()) {
    uint32_t winner = losers_[0];
    Input& input = inputs_[winner];
    if (input.done) break;
    entries_.push_back({input.block, static_cast<uint32_t>(input.row)});
    blocks_[input.block]->named = true;
    if (!byte_columns_.empty()) bytes += BytesOf(input);
    SEGUE_RETURN_IF_ERROR(Advance(&input, false));
    for (size_t node = (winner + inputs_.size()) / 2; node > 0; node /= 2) {
      if (Less(losers_[node], winner)) std::swap(losers_[node], winner);
    }
    losers_[0] = winner;
  }
  std::vector<const ColumnBatch*> sources;
  sources.reserve(blocks_.size());
  for (const auto& block : blocks_) sources.push_back(&block->rows);
  GatherRows(*schema_, sources, entries_.data(), entries_.size(), out);
  free_.insert(free_.end(), spent_.begin(), spent_.end());
  spent_.clear();
  for (const auto& block : blocks_) block->named = false;
  return !entries_.empty();
}

}  // namespace segue
