#include "events/sstable_format.h"

#include <cstring>
#include <limits>

#include "base/crc32c.h"
#include "events/block_encoding.h"

namespace segue::sst {

namespace {

void PutSection(const Section& section, std::string* out) {
  PutVarint64(out, section.offset);
  PutVarint64(out, section.size);
}

bool GetSection(Cursor* in, Section* out) { return in->GetVarint64(&out->offset) && in->GetVarint64(&out->size); }

bool GetString(Cursor* in, std::string* out) {
  std::string_view bytes;
  if (!in->GetLengthPrefixed(&bytes)) return false;
  out->assign(bytes);
  return true;
}

// A pair least, most as the least and the distance.
void PutTimes(int64_t least, int64_t most, std::string* out) {
  PutVarint64(out, ZigZag(least));
  PutVarint64(out, static_cast<uint64_t>(most) - static_cast<uint64_t>(least));
}

bool GetTimes(Cursor* in, int64_t* least, int64_t* most) {
  uint64_t low = 0;
  uint64_t distance = 0;
  if (!in->GetVarint64(&low) || !in->GetVarint64(&distance)) return false;
  *least = UnZigZag(low);
  *most = static_cast<int64_t>(static_cast<uint64_t>(*least) + distance);
  return *most >= *least;
}

void PutSequences(uint64_t least, uint64_t most, std::string* out) {
  PutVarint64(out, least);
  PutVarint64(out, most - least);
}

bool GetSequences(Cursor* in, uint64_t* least, uint64_t* most) {
  uint64_t distance = 0;
  if (!in->GetVarint64(least) || !in->GetVarint64(&distance)) return false;
  *most = *least + distance;
  return *most >= *least;
}

}  // namespace

std::string EncodeFooter(const Footer& footer) {
  std::string out;
  PutLengthPrefixed(&out, footer.schema);
  const SstMeta& meta = footer.meta;
  PutVarint64(&out, meta.file_number);
  PutVarint64(&out, meta.rows);
  PutTimes(meta.min_time, meta.max_time, &out);
  PutSequences(meta.min_seq, meta.max_seq, &out);
  PutLengthPrefixed(&out, meta.first_key);
  PutLengthPrefixed(&out, meta.last_key);
  PutVarint64(&out, footer.dictionaries.size());
  for (const Dictionary& dictionary : footer.dictionaries) {
    PutSection(dictionary.section, &out);
    PutVarint64(&out, dictionary.entries);
  }
  if (footer.models.size > 0) PutSection(footer.models, &out);
  PutSection(footer.bloom, &out);
  PutSection(footer.tokens, &out);
  PutSection(footer.index, &out);
  PutVarint64(&out, footer.blocks);
  Tail tail;
  tail.footer_size = static_cast<uint32_t>(out.size());
  tail.version = footer.models.size > 0 ? kModelsVersion : kVersion;
  tail.crc = FooterCrc(out, tail);
  PutFixed(&out, tail.footer_size);
  PutFixed(&out, tail.version);
  PutFixed(&out, tail.crc);
  out.append(kTailMagic, sizeof(kTailMagic));
  return out;
}

Result<Footer> ParseFooter(std::string_view bytes, uint32_t version) {
  const Status bad = Status::Invalid("the footer is damaged");
  Cursor in(bytes);
  Footer footer;
  footer.version = version;
  SstMeta& meta = footer.meta;
  uint64_t dictionaries = 0;
  if (!GetString(&in, &footer.schema) || !in.GetVarint64(&meta.file_number) || !in.GetVarint64(&meta.rows) ||
      !GetTimes(&in, &meta.min_time, &meta.max_time) || !GetSequences(&in, &meta.min_seq, &meta.max_seq) ||
      !GetString(&in, &meta.first_key) || !GetString(&in, &meta.last_key) || !in.GetVarint64(&dictionaries) ||
      dictionaries > in.remaining()) {
    return bad;
  }
  footer.dictionaries.resize(dictionaries);
  for (Dictionary& dictionary : footer.dictionaries) {
    if (!GetSection(&in, &dictionary.section) || !in.GetVarint64(&dictionary.entries)) return bad;
  }
  if (version >= kModelsVersion && !GetSection(&in, &footer.models)) return bad;
  if (!GetSection(&in, &footer.bloom) || !GetSection(&in, &footer.tokens) || !GetSection(&in, &footer.index) ||
      !in.GetVarint64(&footer.blocks) || in.remaining() != 0) {
    return bad;
  }
  return footer;
}

Result<Tail> ParseTail(std::string_view bytes) {
  if (bytes.size() != kTailSize ||
      std::memcmp(bytes.data() + kTailSize - sizeof(kTailMagic), kTailMagic, sizeof(kTailMagic)) != 0) {
    return Status::Invalid("it does not end like an SSTable");
  }
  Tail tail;
  tail.footer_size = LoadAs<uint32_t>(bytes.data());
  tail.version = LoadAs<uint32_t>(bytes.data() + 4);
  tail.crc = LoadAs<uint32_t>(bytes.data() + 8);
  return tail;
}

uint32_t FooterCrc(std::string_view footer, const Tail& tail) {
  std::string numbers;
  PutFixed(&numbers, tail.footer_size);
  PutFixed(&numbers, tail.version);
  return Crc32c(numbers.data(), numbers.size(), Crc32c(footer.data(), footer.size()));
}

void EncodeIndexEntry(const BlockInfo& block, const std::vector<uint32_t>& chunk_sizes, std::string* out) {
  PutVarint64(out, block.rows);
  for (const uint32_t size : chunk_sizes) PutVarint64(out, size);
  PutTimes(block.min_time, block.max_time, out);
  PutSequences(block.min_seq, block.max_seq, out);
  PutLengthPrefixed(out, block.first_key);
  PutLengthPrefixed(out, block.last_key);
}

bool ParseIndexEntry(Cursor* in, size_t chunks, uint64_t* offset, BlockInfo* block, std::vector<uint32_t>* chunk_ends) {
  uint64_t rows = 0;
  if (!in->GetVarint64(&rows) || rows == 0 || rows > kMaxBlockRows) return false;
  uint64_t end = 0;
  for (size_t i = 0; i < chunks; ++i) {
    uint64_t size = 0;
    if (!in->GetVarint64(&size) || size <= kCrcSize || size > std::numeric_limits<uint32_t>::max()) return false;
    end += size;
    if (end > std::numeric_limits<uint32_t>::max()) return false;
    chunk_ends->push_back(static_cast<uint32_t>(end));
  }
  block->offset = *offset;
  block->size = static_cast<uint32_t>(end);
  block->rows = static_cast<uint32_t>(rows);
  *offset += end;
  return GetTimes(in, &block->min_time, &block->max_time) && GetSequences(in, &block->min_seq, &block->max_seq) &&
         GetString(in, &block->first_key) && GetString(in, &block->last_key);
}

void EncodeTokens(const std::vector<TokenEntry>& tokens, std::string* out) {
  PutVarint64(out, tokens.size());
  for (const TokenEntry& token : tokens) {
    PutFixed(out, token.token_hi);
    PutFixed(out, token.token_lo);
    PutFixed(out, token.content_hash);
    PutFixed(out, token.first);
    PutFixed(out, token.last);
  }
}

Result<std::vector<TokenEntry>> ParseTokens(std::string_view bytes) {
  const Status bad = Status::Invalid("the tokens are damaged");
  Cursor in(bytes);
  uint64_t n = 0;
  if (!in.GetVarint64(&n) || n > in.remaining() / 40 || n * 40 != in.remaining()) return bad;
  std::vector<TokenEntry> tokens(n);
  for (TokenEntry& token : tokens) {
    if (!in.GetFixed(&token.token_hi) || !in.GetFixed(&token.token_lo) || !in.GetFixed(&token.content_hash) ||
        !in.GetFixed(&token.first) || !in.GetFixed(&token.last)) {
      return bad;
    }
  }
  return tokens;
}

}  // namespace segue::sst
