// ReplayRecord: from a record of the log back to rows in memory, for recovery and for reader processes.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/status.h"
#include "events/memtable.h"
#include "events/snapshot.h"
#include "events/sstable_format.h"
#include "events/wal_reader.h"

namespace segue {

// Asked at every record of a replay, with how many bytes of the logs have been read; its error ends the replay.
using ReplayPoll = std::function<Status(uint64_t)>;

// Puts the events of a record into a memtable; the batch's token, if it had
// one, into *token. kCorruption, naming the log at `path` and the record's
// offset, when the record does not fit the schema: then nothing was done.
Status ReplayRecord(const StoreCore& core, const WalRecord& record, const std::string& path, Memtable* memtable,
                    std::optional<TokenEntry>* token);

}  // namespace segue
