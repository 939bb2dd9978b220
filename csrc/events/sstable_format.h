// The SSTable file format: what builder and reader share.
// docs/formats/sstable.md has the grammar, byte tables and a worked example.
//
//   file    := magic block* dictionary* [models] bloom tokens index footer tail
//   block   := chunk{columns} chunk(seq)
//   any part but magic and tail := body crc32c(body):fixed32
//
// Thread safety: plain values and pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/status.h"

namespace segue {

// One acknowledged append token: the hash of the token, the hash of the content
// that came with it, and the sequence numbers that it got.
struct TokenEntry {
  uint64_t token_hi = 0;
  uint64_t token_lo = 0;
  uint64_t content_hash = 0;
  uint64_t first = 0;
  uint64_t last = 0;

  bool operator==(const TokenEntry&) const = default;
};

struct SstMeta {
  uint64_t file_number = 0;
  uint64_t file_size = 0;
  uint64_t rows = 0;
  int64_t min_time = 0;  // in the time column's unit
  int64_t max_time = 0;
  uint64_t min_seq = 0;
  uint64_t max_seq = 0;
  std::string first_key;  // as EncodeKey gives them
  std::string last_key;

  bool operator==(const SstMeta&) const = default;
};

struct SstOptions {
  // Rows of a block, 1 to kMaxBlockRows. More: smaller files and faster scans; fewer: faster reads of one key.
  // Of ten million plays, twice as many take 1 % less space and 10 % less time to scan, and reads of the
  // newest events of a user take 10 % longer.
  size_t block_rows = 512;
  // A block ends earlier once its strings hold this many bytes, so that long strings do not make huge blocks.
  size_t block_bytes = 1 << 20;
  // Bits of bloom filter a distinct key: 10 give about 1 % false positives.
  double bloom_bits_per_key = 10;
};

struct BlockInfo {
  uint64_t offset = 0;
  uint32_t size = 0;
  uint32_t rows = 0;
  int64_t min_time = 0;
  int64_t max_time = 0;
  uint64_t min_seq = 0;
  uint64_t max_seq = 0;
  std::string first_key;
  std::string last_key;
};

namespace sst {

inline constexpr char kMagic[8] = {'S', 'E', 'G', 'U', 'E', 'S', 'S', 'T'};      // at the start
inline constexpr char kTailMagic[8] = {'T', 'S', 'S', 'E', 'U', 'G', 'E', 'S'};  // at the end
inline constexpr uint32_t kVersion = 1;
inline constexpr uint32_t kModelsVersion = 2;  // with models
inline constexpr size_t kCrcSize = 4;
inline constexpr size_t kTailSize = 4 + 4 + 4 + 8;  // footer size, version, crc, magic

// Where a part lies; `size` includes its CRC.
struct Section {
  uint64_t offset = 0;
  uint64_t size = 0;
};

struct Dictionary {
  Section section;
  uint64_t entries = 0;
};

struct Footer {
  uint32_t version = kVersion;           // as it was read
  std::string schema;                    // StoreSchema::Serialize
  SstMeta meta;                          // without file_size
  std::vector<Dictionary> dictionaries;  // one per coded column, in schema order
  Section models;                        // of size 0: none, which is version 1
  Section bloom;
  Section tokens;
  Section index;
  uint64_t blocks = 0;
};

// The footer and the tail: the last bytes of a file.
std::string EncodeFooter(const Footer& footer);
// `footer` is its body without tail. kInvalid when it is damaged.
Result<Footer> ParseFooter(std::string_view footer, uint32_t version);

struct Tail {
  uint32_t footer_size = 0;
  uint32_t version = 0;
  uint32_t crc = 0;  // of footer, footer_size and version
};
// `bytes` are the last kTailSize of a file. kInvalid without the magic.
Result<Tail> ParseTail(std::string_view bytes);
uint32_t FooterCrc(std::string_view footer, const Tail& tail);

// One block in the index: its zone map, and the sizes of its chunks.
void EncodeIndexEntry(const BlockInfo& block, const std::vector<uint32_t>& chunk_sizes, std::string* out);
// `offset` is the block's place, and moves to the next block's. False when damaged.
bool ParseIndexEntry(Cursor* in, size_t chunks, uint64_t* offset, BlockInfo* block, std::vector<uint32_t>* chunk_ends);

void EncodeTokens(const std::vector<TokenEntry>& tokens, std::string* out);
Result<std::vector<TokenEntry>> ParseTokens(std::string_view bytes);

}  // namespace sst
}  // namespace segue
