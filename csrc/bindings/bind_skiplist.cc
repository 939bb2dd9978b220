// _engine.testing: a skiplist under one writer and many readers, for the tests of threads.
#include <pybind11/stl.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "events/skiplist.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

// Keys of 0 to 15 bytes, many of them equal, in no order.
std::string KeyOf(uint64_t seq) { return std::string(seq % 16, static_cast<char>('a' + seq * 7 % 5)); }
int64_t TimeOf(uint64_t seq) { return static_cast<int64_t>(seq * 2654435761U % 100); }

// What a reader found wrong; empty when nothing. At least the first `published` rows are to be there.
std::string Walk(const SkipList& list, uint64_t published) {
  const SkipList::Node* last = nullptr;
  uint64_t rows = 0;
  for (const SkipList::Node* node = list.First(); node != nullptr; node = node->Next(0)) {
    const RowOrder& order = node->order;
    if (last != nullptr && !RowLess(last->order, order)) return "rows are out of order";
    if (order.key != KeyOf(order.seq) || order.time != TimeOf(order.seq)) return "a row has another one's key or time";
    if (std::string_view(reinterpret_cast<const char*>(node->row), node->row_size) != std::to_string(order.seq)) {
      return "a row is half there";
    }
    if (order.seq <= published) ++rows;
    last = node;
  }
  if (rows != published) return std::to_string(rows) + " of " + std::to_string(published) + " rows were found";
  return {};
}

std::string Find(const SkipList& list, uint64_t seq) {
  const std::string key = KeyOf(seq);
  const SkipList::Node* node = list.Seek({KeyPrefix(key), key, TimeOf(seq), seq});
  return node != nullptr && node->order.seq == seq ? std::string() : "row " + std::to_string(seq) + " was not found";
}

// One thread inserts `rows` rows while `readers` threads walk the list. Readers
// of even number learn how many rows are there, as a snapshot does, and miss
// none of them. The others meet rows through the links alone, which have to
// publish what they point to. What each found wrong, and how often all walked.
std::pair<std::vector<std::string>, uint64_t> ReadWhileWriting(uint64_t rows, size_t readers) {
  SkipList list;
  std::atomic<uint64_t> published{0};
  std::atomic<uint64_t> walks{0};
  std::vector<std::string> wrong(readers);
  std::vector<std::thread> threads;
  for (size_t reader = 0; reader < readers; ++reader) {
    threads.emplace_back([&, reader] {
      uint64_t there = 0;
      while (there < rows && wrong[reader].empty()) {
        const bool told = reader % 2 == 0;
        there = published.load(told ? std::memory_order_acquire : std::memory_order_relaxed);
        for (uint64_t seq = 1 + reader; told && seq <= there && wrong[reader].empty(); seq += 97) {
          wrong[reader] = Find(list, seq);
        }
        if (wrong[reader].empty()) wrong[reader] = Walk(list, told ? there : 0);
        walks.fetch_add(1, std::memory_order_relaxed);
      }
    });
  }
  for (uint64_t seq = 1; seq <= rows; ++seq) {
    list.Insert(KeyOf(seq), TimeOf(seq), seq, std::to_string(seq));
    published.store(seq, std::memory_order_release);
  }
  for (std::thread& thread : threads) thread.join();
  return {wrong, walks.load()};
}

// One thread inserts `rows` rows, each right before the last one of the list,
// while another seeks that last one. How often it found something else.
uint64_t SeekWhileWriting(uint64_t rows) {
  SkipList list;
  const std::string key = KeyOf(1);
  const int64_t last = static_cast<int64_t>(rows) + 1;
  list.Insert(key, last, rows + 1, {});
  std::atomic<bool> done{false};
  uint64_t wrong = 0;
  std::thread reader([&] {
    while (!done.load(std::memory_order_relaxed)) {
      const SkipList::Node* node = list.Seek({KeyPrefix(key), key, last, 0});
      wrong += node == nullptr || node->order.time != last;
    }
  });
  for (uint64_t seq = 1; seq <= rows; ++seq) list.Insert(key, static_cast<int64_t>(seq), seq, {});
  done.store(true, std::memory_order_relaxed);
  reader.join();
  return wrong;
}

}  // namespace

void BindSkipList(py::module_& m) {
  m.def("read_skiplist_while_writing", &ReadWhileWriting, py::arg("rows"), py::arg("readers"),
        py::call_guard<GilRelease>(),
        "What each reader found wrong (empty: nothing), and how often they walked the whole list.");
  m.def("seek_skiplist_while_writing", &SeekWhileWriting, py::arg("rows"), py::call_guard<GilRelease>(),
        "How often a reader that seeks the last row found another one, while rows were put right before it.");
}

}  // namespace segue::bindings
