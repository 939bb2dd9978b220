// SstReader: the rows of one key, kept apart from their block.
#include "events/block_encoding.h"
#include "events/sstable_reader.h"

namespace segue {

Status SstReader::FetchOfKey(size_t block, std::string_view encoded_key, uint64_t key_hash,
                             const std::vector<bool>& wanted, bool seq, EncodedBlock* out, ReadCounts* counts) const {
  BlockCache::BlockPtr found;
  if (resources_.cache && resources_.cache->capacity() > 0) {
    found = resources_.cache->Find({cache_table_, block, BlockCache::SliceOf(key_hash)});
  }
  if (!found || found->key != encoded_key) return Fetch(block, wanted, seq, true, out, counts);
  const size_t columns = schema_->columns.size();
  const auto want = [&](size_t chunk) { return chunk == columns ? seq : wanted.empty() || wanted[chunk]; };
  bool all = true;
  for (size_t chunk = 0; chunk <= columns; ++chunk) all &= !want(chunk) || !found->chunks[chunk].empty();
  if (!all && found->rows > 0) {
    // What is there is read again with what is missing, to be kept in one slice.
    std::vector<bool> together(columns);
    for (size_t c = 0; c < columns; ++c) together[c] = want(c) || !found->chunks[c].empty();
    return Fetch(block, together, seq || !found->chunks[columns].empty(), true, out, counts);
  }
  ++counts->cache_hits;
  BecomeSlice(block, std::move(found), out);
  return Status();
}

void SstReader::BecomeSlice(size_t block, BlockCache::BlockPtr slice, EncodedBlock* out) {
  out->foretelling_.Forget();
  out->number_ = block;
  out->rows_ = slice->rows;
  out->slice_ = true;
  out->chunks_ = slice->chunks;
  out->cached_ = std::move(slice);
}

Status SstReader::KeepSlice(std::string_view encoded_key, uint64_t key_hash, size_t begin, size_t end,
                            SliceMaker* maker, EncodedBlock* fetched) const {
  const EncodedBlock& block = *fetched;
  if (block.cached_ || !resources_.cache || resources_.cache->capacity() == 0) return Status();
  const size_t columns = schema_->columns.size();
  BlockCache::Key key{cache_table_, block.number_, BlockCache::SliceOf(key_hash)};
  if (!resources_.cache->Admits(key, block.bytes_.size(), columns + 1)) return Status();
  const size_t n = end - begin;
  if (n == block.rows_) {  // as it stands, for whoever reads the block
    auto whole = std::make_shared<BlockCache::Block>();
    whole->bytes = block.bytes_;
    for (const std::string_view chunk : block.chunks_) {
      const char* at = chunk.empty() ? whole->bytes.data() : whole->bytes.data() + (chunk.data() - block.bytes_.data());
      whole->chunks.emplace_back(at, chunk.size());
    }
    key.slice = 0;
    resources_.cache->Insert(key, std::move(whole));
    return Status();
  }
  std::string& bytes = maker->bytes;
  bytes = encoded_key;
  maker->ends.clear();
  for (size_t chunk = 0; chunk <= columns; ++chunk) {
    const std::string_view encoded = block.chunks_[chunk];
    if (n > 0 && !encoded.empty()) {
      Status status;
      if (chunk == columns) {
        maker->seq.resize(n);
        SEGUE_RETURN_IF_ERROR(DecodeSequences(block, begin, end, maker->seq.data()));
        EncodeUInt64s(maker->seq.data(), n, &bytes);
      } else {
        const ColumnShape shape = ColumnShape::Of(schema_->columns[chunk]);
        ColumnData& column = maker->column;
        column.values.clear();
        column.offsets.clear();
        column.valid.clear();
        SEGUE_RETURN_IF_ERROR(DecodeChunk(block, chunk, begin, end, &column));
        status = maker->encoder.Encode(shape, column, 0, n, std::nullopt, &bytes).status();
      }
      if (!status.ok()) return DamagedChunk(block.number_, chunk, status.message());
    }
    maker->ends.push_back(bytes.size());
  }
  auto slice = std::make_shared<BlockCache::Block>();
  slice->bytes.assign(bytes.begin(), bytes.end());
  const std::string_view all(slice->bytes.data(), slice->bytes.size());
  slice->key = all.substr(0, encoded_key.size());
  slice->rows = n;
  slice->chunks.reserve(columns + 1);
  size_t from = encoded_key.size();
  for (const size_t to : maker->ends) {
    slice->chunks.push_back(all.substr(from, to - from));
    from = to;
  }
  BecomeSlice(block.number_, slice, fetched);
  resources_.cache->Insert(key, std::move(slice));
  return Status();
}

}  // namespace segue
