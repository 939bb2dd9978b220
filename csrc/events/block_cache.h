// BlockCache: what reads by key needed of SSTables, in memory, up to a budget of bytes.
//
// An entry is a block, or a slice: the rows that one key has in a block, mostly a
// few of its hundreds. Slices let the cache know a budget's worth of keys rather
// than of their neighbours; a block is for many keys that lie together. Either has the
// column chunks that were asked for, encoded and already checked: three to four
// times smaller than decoded ones. Only reads by key fill the cache; a scan of
// everything would replace all of it by what nobody asks for again.
//
// Least recently used entries go first, and those of tables that are gone like the
// others. A slice comes in at once as long as there is room, later when it is asked
// for a second time within as many others as it has room for (the doorkeeper of
// TinyLFU; Einziger, Friedman, Manes 2017): where little is asked for again, most of
// the work of a cache is to move it in and out. A block comes in for the eighth read
// that looks for a key in it, when it takes no more than eight slices; one whose rows
// all have the same key comes in as their slice would. The entries are spread over
// shards with a lock each, so that readers seldom meet.
//
// Thread safety: every method from any thread.
// Invariants: bytes() <= capacity(); an entry that a reader holds lives on after
// it has left the cache.
// Ownership: entries are shared with readers.
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
    uint64_t slice = 0;  // SliceOf a key; 0: the block itself

    bool operator==(const Key&) const = default;
  };
  struct Block {
    RawVector<char> bytes;
    std::vector<std::string_view> chunks;  // into bytes, without checksum; empty: not there
    // Of a slice: the key, as keys may share a hash, and how many rows it has, which may be none.
    std::string_view key;  // into bytes
    size_t rows = 0;
  };
  using BlockPtr = std::shared_ptr<const Block>;

  // 0: holds nothing.
  explicit BlockCache(uint64_t capacity);

  // A number that no other table of this cache has or had.
  uint64_t NewTable();
  static uint64_t SliceOf(uint64_t key_hash) { return key_hash | 1; }
  // Null when it is not there.
  BlockPtr Find(const Key& key);
  // Whether what was missed is to be inserted; remembers that it was asked for.
  bool Admits(const Key& key, size_t bytes, size_t chunks);
  // Keeps `block` in place of what was there, unless it alone would take most of a shard.
  void Insert(const Key& key, BlockPtr block);

  uint64_t capacity() const { return capacity_; }
  uint64_t bytes() const;

 private:
  // What an entry takes besides its bytes: list node, table node, block, and what malloc adds to each.
  static constexpr size_t kOverhead = 256;

  struct Entry {
    Key key;
    BlockPtr block;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const {
      return HashU64(key.table * 0x9E3779B97F4A7C15ULL ^ key.block ^ key.slice);
    }
  };
  struct Shard {
    mutable std::mutex mutex;
    std::list<Entry> entries;  // most recently used first
    std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> places;
    uint64_t bytes = 0;
    std::vector<uint32_t> missed;  // a hash of a key in its place, and how often it was missed in the low byte
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
