// Manifest: the one file that says what an event store consists of.
//
// It is small (some hundred bytes an SSTable) and replaced as a whole by an
// atomic, synced rename, so it is the old state or the new one, never a mix.
// Format: docs/formats/manifest.md.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "events/sstable_builder.h"

namespace segue {

inline constexpr int64_t kNothingExpired = std::numeric_limits<int64_t>::min();

// What the file says of itself, and which of its rows still count.
struct ManifestTable : SstMeta {
  int64_t visible_from = kNothingExpired;  // rows before this time have expired

  bool operator==(const ManifestTable&) const = default;
};

struct Manifest {
  std::string store_id;                      // 16 random bytes, for life
  std::string schema;                        // StoreSchema::Serialize
  int64_t window = 0;                        // width of a time window, in the time column's unit; > 0
  uint64_t next_file = 1;                    // number of the next SSTable
  uint64_t flushed_seq = 0;                  // every sequence up to it is in an SSTable, or expired
  uint64_t wal_floor = 1;                    // WAL generations below it hold nothing that is needed
  uint64_t handoff_seq = 0;                  // a pipeline published up to it: never issue these numbers again
  int64_t expired_before = kNothingExpired;  // events before this time have been expired at some moment
  std::vector<ManifestTable> tables;         // in no particular order
  std::vector<TokenEntry> tokens;            // of tables that are gone, until a new table takes them

  void DropTokens(const std::vector<TokenEntry>& taken);  // those that a table has now

  std::string Serialize() const;
  static Result<Manifest> Parse(const std::string& path, const std::string& bytes);  // `path`: for errors
  static Result<Manifest> Load(Env* env, const std::string& path);
};

// One day in the unit of the schema's time column: the window of tables that chose none.
int64_t DayWindow(const StoreSchema& schema);

inline constexpr char kManifestName[] = "MANIFEST";
std::string WalFile(const std::string& dir, uint64_t generation);
// False unless `name`, without a folder, is that of a log.
bool ParseWalFile(const std::string& name, uint64_t* generation);
std::string TableFile(const std::string& dir, uint64_t number);

}  // namespace segue
