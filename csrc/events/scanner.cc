#include "events/scanner.h"

#include <algorithm>
#include <utility>

#include "events/block_scanner.h"
#include "events/key_scanner.h"

namespace segue {

std::unique_ptr<Scanner> MakeScanner(std::shared_ptr<const Snapshot> snapshot, ScanSpec spec) {
  spec.upto_seq = std::min(spec.upto_seq, snapshot->seq());
  if (spec.wanted.empty()) spec.wanted.assign(snapshot->core().schema.columns.size(), true);
  if (spec.key.has_value()) return std::make_unique<KeyScanner>(std::move(snapshot), std::move(spec));
  return std::make_unique<BlockScanner>(std::move(snapshot), std::move(spec));
}

}  // namespace segue
