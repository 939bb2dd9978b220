// Manifest: the one file that says what an event store consists of.
//
// It is small (some hundred bytes an SSTable) and replaced as a whole by an
// atomic, synced rename, so it is the old state or the new one, never a mix.
// Format: docs/formats/manifest.md.
#pragma once

#include <string>
#include <vector>

#include "base/env.h"
#include "base/status.h"
#include "events/sstable_builder.h"

namespace segue {

struct Manifest {
  std::string store_id;         // 16 random bytes, for life
  std::string schema;           // StoreSchema::Serialize
  uint64_t next_file = 1;       // number of the next SSTable
  uint64_t flushed_seq = 0;     // every sequence up to it is in an SSTable
  uint64_t wal_floor = 1;       // WAL generations below it hold nothing that is needed
  uint64_t handoff_seq = 0;     // a pipeline published up to it: never issue these numbers again
  std::vector<SstMeta> tables;  // oldest first

  std::string Serialize() const;
  static Result<Manifest> Load(Env* env, const std::string& path);
};

inline constexpr char kManifestName[] = "MANIFEST";

}  // namespace segue
