#include "pipeline/run_merger.h"

namespace segue {

namespace {
constexpr int64_t kPrefetch = 12;  // rows of a memory run ahead of the one shown
}

Result<std::unique_ptr<RunMerger>> RunMerger::Make(const RowLayout* layout, const SortKey* key,
                                                   const std::vector<SortedRun>& runs, const KeyRange& range,
                                                   MemoryBudget* budget) {
  std::unique_ptr<RunMerger> merger(new RunMerger(key));
  for (const SortedRun& run : runs) {
    Source source;
    if (run.memory != nullptr) {
      source.memory = run.memory;
      source.at = run.memory->LowerBound(range.begin);
      source.end = range.bounded ? run.memory->LowerBound(range.end) : run.memory->size();
    } else {
      source.blocks = std::make_unique<BlockReader>(run.spilled, layout, budget);
      SEGUE_RETURN_IF_ERROR(source.blocks->Seek(range.begin, range.bounded ? &range.end : nullptr));
    }
    merger->Show(&source);
    if (!source.done) merger->sources_.push_back(std::move(source));
  }
  merger->Build();
  return merger;
}

void RunMerger::Show(Source* source) const {
  if (source->memory != nullptr) {
    source->done = source->at >= source->end;
    if (source->done) return;
    source->key = source->memory->KeyAt(source->at);
    source->row = source->memory->RowAt(source->at);
    source->memory->Prefetch(source->at + kPrefetch);
  } else {
    source->done = source->blocks->done();
    if (source->done) return;
    source->key = source->blocks->key();
    source->row = source->blocks->row();
  }
}

// False: its block is used up and its next one must be read.
bool RunMerger::Advance(Source* source) const {
  if (source->memory != nullptr) {
    ++source->at;
  } else if (!source->blocks->Step()) {
    return false;
  }
  Show(source);
  return true;
}

bool RunMerger::Before(uint32_t a, uint32_t b) const {
  const Source& x = sources_[a];
  const Source& y = sources_[b];
  if (x.done || y.done) return !x.done;
  if (x.key.hi != y.key.hi) return x.key.hi < y.key.hi;
  if (x.key.lo != y.key.lo) return x.key.lo < y.key.lo;
  if (!key_->exact()) {
    if (const int order = key_->Compare(x.row, y.row); order != 0) return order < 0;
  }
  return a < b;
}

void RunMerger::Build() {
  const size_t k = sources_.size();
  tree_.assign(k == 0 ? 1 : k, 0);
  if (k == 0) return;
  std::vector<uint32_t> winners(2 * k);
  for (size_t i = 0; i < k; ++i) winners[k + i] = static_cast<uint32_t>(i);
  for (size_t node = k - 1; node > 0; --node) {
    const uint32_t a = winners[2 * node];
    const uint32_t b = winners[2 * node + 1];
    const bool a_wins = Before(a, b);
    winners[node] = a_wins ? a : b;
    tree_[node] = a_wins ? b : a;
  }
  tree_[0] = winners[1];
}

void RunMerger::Replay(uint32_t source) {
  uint32_t winner = source;
  for (size_t node = (source + sources_.size()) / 2; node > 0; node /= 2) {
    if (Before(tree_[node], winner)) std::swap(tree_[node], winner);
  }
  tree_[0] = winner;
}

Result<size_t> RunMerger::Next(MergedRow* out, size_t max) {
  if (sources_.empty()) return size_t{0};
  if (stale_ >= 0) {
    Source& source = sources_[static_cast<size_t>(stale_)];
    SEGUE_RETURN_IF_ERROR(source.blocks->NextBlock());
    Show(&source);
    Replay(static_cast<uint32_t>(stale_));
    stale_ = -1;
  }
  size_t n = 0;
  while (n < max) {
    const uint32_t winner = tree_[0];
    Source& source = sources_[winner];
    if (source.done) break;
    out[n++] = MergedRow{source.row, source.key};
    if (!Advance(&source)) {
      stale_ = winner;
      break;
    }
    Replay(winner);
  }
  return n;
}

}  // namespace segue
