// SkipList: rows of the active memtable, ordered by (key, time, sequence).
//
// The structure is Pugh's (1990) with LevelDB's concurrency rule: one writer,
// any number of readers, no locks. A node is published by a release store of
// the pointer to it and never changes or moves afterwards.
//
// Thread safety: Insert by one thread at a time; Iterator from any thread.
// Invariants: (1) every list is sorted; (2) a node on level n is on all levels
// below; (3) nodes live as long as the SkipList (the arena owns them).
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/arena.h"
#include "base/coding.h"

namespace segue {

// The order of Act 1, wherever rows are compared. `prefix` is the first eight
// bytes of the encoded key, big-endian and zero-padded: as encoded keys are
// prefix-free, equal prefixes of keys of at most eight bytes mean equal keys.
struct RowOrder {
  uint64_t prefix = 0;
  std::string_view key;  // encoded
  int64_t time = 0;
  uint64_t seq = 0;
};

inline uint64_t KeyPrefix(std::string_view key) {
  uint8_t bytes[8] = {0};
  std::memcpy(bytes, key.data(), key.size() < 8 ? key.size() : 8);
  return __builtin_bswap64(LoadAs<uint64_t>(bytes));
}

inline int CompareKeys(uint64_t a_prefix, std::string_view a, uint64_t b_prefix, std::string_view b) {
  if (a_prefix != b_prefix) return a_prefix < b_prefix ? -1 : 1;
  if (a.size() <= 8 && b.size() <= 8) return 0;
  return a.compare(b);
}

inline bool RowLess(const RowOrder& a, const RowOrder& b) {
  if (const int key = CompareKeys(a.prefix, a.key, b.prefix, b.key); key != 0) return key < 0;
  if (a.time != b.time) return a.time < b.time;
  return a.seq < b.seq;
}

class SkipList {
 public:
  struct Node {
    RowOrder order;
    const uint8_t* row;
    uint32_t row_size;
    int height;

    const Node* Next(int level) const { return links()[level].load(std::memory_order_acquire); }

   private:
    friend class SkipList;
    // `height` links follow the node in its allocation.
    std::atomic<const Node*>* links() const {
      return reinterpret_cast<std::atomic<const Node*>*>(const_cast<Node*>(this) + 1);
    }
  };

  SkipList() : head_(NewNode(kMaxHeight)) {}
  SkipList(const SkipList&) = delete;
  SkipList& operator=(const SkipList&) = delete;

  // Copies key and row. (key, time, seq) must be new: sequences make it so.
  void Insert(std::string_view key, int64_t time, uint64_t seq, std::string_view row) {
    uint8_t* bytes = arena_.Allocate(key.size() + row.size());
    if (!key.empty()) std::memcpy(bytes, key.data(), key.size());
    if (!row.empty()) std::memcpy(bytes + key.size(), row.data(), row.size());
    const RowOrder order{KeyPrefix(key), {reinterpret_cast<const char*>(bytes), key.size()}, time, seq};

    const Node* before[kMaxHeight];
    Find(order, before);
    const int height = RandomHeight();
    for (int level = height_.load(std::memory_order_relaxed); level < height; ++level) before[level] = head_;
    if (height > height_.load(std::memory_order_relaxed)) height_.store(height, std::memory_order_relaxed);

    Node* node = NewNode(height);
    node->order = order;
    node->row = bytes + key.size();
    node->row_size = static_cast<uint32_t>(row.size());
    for (int level = 0; level < height; ++level) {
      node->links()[level].store(before[level]->Next(level), std::memory_order_relaxed);
      before[level]->links()[level].store(node, std::memory_order_release);
    }
    rows_.fetch_add(1, std::memory_order_relaxed);
  }

  // The first node that is not less than `order`; null at the end.
  const Node* Seek(const RowOrder& order) const { return Find(order, nullptr); }
  const Node* First() const { return head_->Next(0); }

  size_t rows() const { return rows_.load(std::memory_order_relaxed); }
  size_t memory() const { return arena_.memory(); }

 private:
  static constexpr int kMaxHeight = 12;

  Node* NewNode(int height) {
    uint8_t* memory = arena_.Allocate(sizeof(Node) + sizeof(std::atomic<const Node*>) * static_cast<size_t>(height));
    Node* node = ::new (memory) Node{};
    node->height = height;
    for (int level = 0; level < height; ++level) ::new (&node->links()[level]) std::atomic<const Node*>(nullptr);
    return node;
  }

  // The first node not less than `order` and, for each level, the last before
  // it. What was compared is what is returned: read again, the link may lead to
  // a smaller node that the writer put in between.
  const Node* Find(const RowOrder& order, const Node** before) const {
    const Node* node = head_;
    for (int level = height_.load(std::memory_order_relaxed) - 1;; --level) {
      const Node* next = node->Next(level);
      for (; next != nullptr && RowLess(next->order, order); next = node->Next(level)) node = next;
      if (before != nullptr) before[level] = node;
      if (level == 0) return next;
    }
  }

  // Each level holds a quarter of the one below.
  int RandomHeight() {
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    int height = 1;
    for (uint64_t bits = random_; height < kMaxHeight && (bits & 3) == 0; bits >>= 2) ++height;
    return height;
  }

  Arena arena_;
  Node* head_;
  std::atomic<int> height_{1};
  std::atomic<size_t> rows_{0};
  uint64_t random_ = 0x9E3779B97F4A7C15ULL;
};

}  // namespace segue
