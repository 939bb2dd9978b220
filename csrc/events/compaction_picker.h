// Which tables to merge next: a pure function of the manifest's table list.
//
// Tables of one node (time_windows.h) are merged with each other only, and of
// them only those of similar size: the smallest tables, as many as can be taken
// so that all together are at least `fan_in` times as large as the largest of
// them. So each merge of a row puts it into a table at least that many times
// larger, and a row is written log(window / flush) / log(fan_in) times after
// its flush. Once a node takes no more new rows its few left tables are worth
// one more pass, at a smaller ratio; after that it is settled and left alone.
//
// Tables that a pipeline has taken are not merged with newer ones, so that the
// next run need not read through rows it has had.
//
// Thread safety: pure functions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "events/manifest.h"

namespace segue {

struct CompactionRules {
  uint64_t fan_in = 16;                     // of a node that still takes rows
  uint64_t settled_fan_in = 4;              // of one that does not
  size_t most_inputs = 32;                  // of one merge: bounds memory and open files
  size_t crowded = 64;                      // a node of more tables merges at a ratio of 2, and as fast as the disk can
  uint64_t table_keys = uint64_t{4} << 20;  // a merge's table of so many keys is continued in another one
  size_t newest = 8;                        // nodes of the newest so many tables still take rows
};

struct CompactionPick {
  std::vector<size_t> inputs;  // places in the table list, ascending
  uint64_t bytes = 0;          // of the inputs
  bool crowded = false;
};

// What is due, the most urgent first. No table is in two picks.
std::vector<CompactionPick> DueCompactions(const std::vector<ManifestTable>& tables, int64_t window,
                                           uint64_t handoff_seq, const CompactionRules& rules);

// What stands between the tables with sequences up to `upto_seq` and a store
// where each node has one table (or a large one continued in others) and no row
// that has expired. Empty once that is reached; made over and over, merges reach it.
std::vector<CompactionPick> AllCompactions(const std::vector<ManifestTable>& tables, int64_t window, uint64_t upto_seq,
                                           const CompactionRules& rules);

// In how many tables the rows of one window are, at most; one that spans
// several windows counts for all of them.
uint64_t MostTablesOfAWindow(const std::vector<ManifestTable>& tables, int64_t window);

}  // namespace segue
