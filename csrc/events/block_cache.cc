#include "events/block_cache.h"

#include <algorithm>
#include <utility>

namespace segue {

namespace {

// Enough that two readers seldom wait for each other, and each large enough for
// some hundred blocks.
constexpr uint64_t kShardBytes = uint64_t{4} << 20;
constexpr uint64_t kMaxShards = 16;
// What was missed is remembered, one for so many bytes: about as many as a cache full of slices holds.
constexpr uint64_t kBytesPerMissed = 512;
constexpr uint64_t kMostMissed = uint64_t{1} << 18;  // of one shard
constexpr uint32_t kAsksForSlice = 2;
constexpr uint32_t kAsksForBlock = 8;

}  // namespace

BlockCache::BlockCache(uint64_t capacity)
    : capacity_(capacity), shards_(std::clamp<uint64_t>(capacity / kShardBytes, 1, kMaxShards)) {
  const uint64_t remembered = capacity / shards_.size() / kBytesPerMissed + 1;
  for (Shard& shard : shards_) shard.missed.resize(std::min(remembered, kMostMissed));
}

uint64_t BlockCache::NewTable() {
  const std::lock_guard lock(mutex_);
  return next_table_++;
}

BlockCache::BlockPtr BlockCache::Find(const Key& key) {
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mutex);
  const auto found = shard.places.find(key);
  if (found == shard.places.end()) return nullptr;
  shard.entries.splice(shard.entries.begin(), shard.entries, found->second);
  return found->second->block;
}

void BlockCache::DropLocked(Shard* shard, std::list<Entry>::iterator entry, std::list<Entry>* dropped) {
  shard->bytes -= Cost(*entry->block);
  shard->places.erase(entry->key);
  dropped->splice(dropped->begin(), shard->entries, entry);
}

bool BlockCache::Admits(const Key& key, size_t bytes, size_t chunks) {
  const uint64_t cost = Cost(bytes, chunks);
  const uint64_t room = capacity_ / shards_.size();
  if (cost > room / 2) return false;
  const uint64_t hash = KeyHash()(key);
  Shard& shard = ShardOf(key);
  const std::lock_guard lock(shard.mutex);
  if (key.slice != 0 && shard.bytes + cost <= room) return true;
  uint32_t& missed = shard.missed[(hash >> 32) % shard.missed.size()];
  const uint32_t mark = static_cast<uint32_t>(hash) & ~uint32_t{0xFF};
  missed = (missed & ~uint32_t{0xFF}) == mark ? missed + 1 : mark + 1;
  if ((missed & 0xFF) < (key.slice != 0 ? kAsksForSlice : kAsksForBlock)) return false;
  missed = 0;
  return true;
}

void BlockCache::Insert(const Key& key, BlockPtr block) {
  const uint64_t cost = Cost(*block);
  const uint64_t room = capacity_ / shards_.size();
  if (cost > room / 2) return;
  Shard& shard = ShardOf(key);
  std::list<Entry> dropped;  // freed without the lock
  const std::lock_guard lock(shard.mutex);
  if (const auto old = shard.places.find(key); old != shard.places.end()) {
    DropLocked(&shard, old->second, &dropped);
  }
  while (shard.bytes + cost > room) DropLocked(&shard, std::prev(shard.entries.end()), &dropped);
  shard.entries.push_front({key, std::move(block)});
  shard.places.emplace(key, shard.entries.begin());
  shard.bytes += cost;
}

uint64_t BlockCache::bytes() const {
  uint64_t total = 0;
  for (const Shard& shard : shards_) {
    const std::lock_guard lock(shard.mutex);
    total += shard.bytes;
  }
  return total;
}

}  // namespace segue
