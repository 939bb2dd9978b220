// BlockCache: blocks of SSTables in memory, up to a budget of bytes.
//
// It holds column chunks as they stand in the file, encoded and already checked:
// they are three to four times smaller than decoded ones, and a read of one key
// decodes a few rows of each. An entry has the chunks of a block that were asked
// for. Only reads by key fill the cache; a scan of everything would replace all
// of it by blocks that nobody asks for again.
//
// Least recently used blocks go first; but once it is full, a block comes in only
// when it is asked for a second time within some thousand others (the doorkeeper
// of TinyLFU; Einziger, Friedman, Manes 2017). Where few blocks are asked for
// again, most of the work of a cache is to move them in and out. The keys are
// spread over shards with a lock each, so that readers seldom meet.
//
// Thread safety: every method from any thread.
// Invariants: bytes() <= capacity(); a block that a reader holds lives on after
// it has left the cache.
// Ownership: blocks are shared with readers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/hash.h"
#include "events/column_batch.h"

namespace segue {

class BlockCache {
 public:
  struct Key {
    uint64_t table = 0;  // NewTable's number
    uint64_t block = 0;

    bool operator==(const Key&) const = default;
  };
  struct Block {
    RawVector<char> bytes;
    std::vector<std::string_view> chunks;  // into bytes, without checksum; empty: not there
  };
  using BlockPtr = std::shared_ptr<const Block>;

  // 0: holds nothing.
  explicit BlockCache(uint64_t capacity);

  // A number that no other table of this cache has or had.
  uint64_t NewTable();
  // Null when it is not there.
  BlockPtr Find(const Key& key);
  // Whether a block that was missed is to be inserted; remembers that it was asked for.
  bool Admits(const Key& key, size_t bytes, size_t chunks);
  // Keeps `block` in place of what was there, unless it alone would take most of a shard.
  void Insert(const Key& key, BlockPtr block);
  // Drops what is left of a table that is gone.
  void EraseTable(uint64_t table);

  uint64_t capacity() const { return capacity_; }
  uint64_t bytes() const;

 private:
  // What an entry takes besides its bytes: list node, table node, block.
  static constexpr size_t kOverhead = 192;

  struct Entry {
    Key key;
    BlockPtr block;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return HashU64(key.table * 0x9E3779B97F4A7C15ULL ^ key.block); }
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Entry> entries;  // most recently used first
    std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> places;
    uint64_t bytes = 0;
    std::vector<uint32_t> missed;  // hashes of blocks, each in its place; 0: none
  };

  static uint64_t Cost(size_t bytes, size_t chunks) { return bytes + chunks * sizeof(std::string_view) + kOverhead; }
  static uint64_t Cost(const Block& block) { return Cost(block.bytes.capacity(), block.chunks.size()); }
  Shard& ShardOf(const Key& key) { return shards_[(KeyHash()(key) >> 48) % shards_.size()]; }
  static void DropLocked(Shard* shard, std::list<Entry>::iterator entry, std::list<Entry>* dropped);

  const uint64_t capacity_;
  std::vector<Shard> shards_;
  std::mutex mutex_;  // guards next_table_
  uint64_t next_table_ = 1;
};

}  // namespace segue
