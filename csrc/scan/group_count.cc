#include "scan/group_count.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace segue::scan {

namespace {

constexpr uint64_t kReplicaCells = 4096;         // four copies of it fit the second-level cache with room
constexpr uint64_t kCacheCells = 128 << 10;      // beyond, increments miss: prefetch
constexpr uint64_t kAlwaysDenseCells = 1 << 20;  // clearing 4 MiB costs nothing next to a scan

}  // namespace

struct GroupCounter::Cells {
  uint32_t* data = nullptr;
  size_t size = 0;

  Cells() = default;
  Cells(const Cells&) = delete;
  Cells& operator=(const Cells&) = delete;
  ~Cells() { std::free(data); }

  static std::unique_ptr<Cells> Make(size_t n) {
    constexpr size_t kLargePage = 2 << 20;
    auto cells = std::make_unique<Cells>();
    size_t bytes = n * sizeof(uint32_t);
    if (bytes >= 4 * kLargePage) {
      bytes = (bytes + kLargePage - 1) / kLargePage * kLargePage;
      cells->data = static_cast<uint32_t*>(std::aligned_alloc(kLargePage, bytes));
#if defined(__linux__)
      // Random increments miss the TLB on small pages. Only a wish: failure changes nothing.
      if (cells->data != nullptr) static_cast<void>(madvise(cells->data, bytes, MADV_HUGEPAGE));
#endif
      if (cells->data != nullptr) std::memset(cells->data, 0, bytes);
    } else {
      cells->data = static_cast<uint32_t*>(std::calloc(n, sizeof(uint32_t)));
    }
    if (cells->data == nullptr) return nullptr;
    cells->size = n;
    return cells;
  }
};

GroupCounter::GroupCounter(const ScanKernels& kernels, size_t columns, size_t dense_bytes, size_t memory_bytes,
                           uint64_t expected_rows)
    : kernels_(kernels),
      columns_(columns),
      dense_bytes_(dense_bytes),
      memory_bytes_(memory_bytes),
      expected_rows_(expected_rows),
      cell_buffer_(kBlockRows) {}

GroupCounter::~GroupCounter() = default;

size_t GroupCounter::memory() const {
  size_t bytes = carried_.capacity() * sizeof(uint64_t) + group_counts_.capacity() * sizeof(uint64_t);
  if (counters_) bytes += counters_->size * sizeof(uint32_t);
  for (const IdTable& stage : stages_) bytes += stage.memory();
  return bytes;
}

// The cells of a layout, or UINT64_MAX when it may not be dense.
uint64_t GroupCounter::CellsFor(const std::vector<uint32_t>& capacities) const {
  uint64_t cells = 1;
  const uint64_t budget = dense_bytes_ / sizeof(uint32_t);
  const uint64_t useful =
      std::max(kAlwaysDenseCells, expected_rows_ > UINT64_MAX / 4 ? UINT64_MAX : 4 * expected_rows_);
  const uint64_t limit = std::min<uint64_t>({budget, useful, UINT32_MAX - 1});
  for (uint32_t capacity : capacities) {
    cells *= std::max<uint64_t>(capacity, 1);  // both below 2^32
    if (cells > limit) return UINT64_MAX;
  }
  return cells;
}

uint64_t GroupCounter::CountAt(uint64_t cell) const {
  uint64_t count = carried_.empty() ? 0 : carried_[cell];
  const size_t copies = replica_stride_ == 0 ? 1 : 4;
  for (size_t r = 0; r < copies; ++r) count += counters_->data[r * replica_stride_ + cell];
  return count;
}

// Calls visit(ids, count) for every group counted so far.
template <typename Visit>
void GroupCounter::ForEachGroup(Visit visit) const {
  std::vector<uint32_t> ids(columns_);
  if (sparse_) {
    for (size_t group = 0; group < group_counts_.size(); ++group) {
      if (group_counts_[group] == 0) continue;
      auto id = static_cast<uint32_t>(group);
      for (size_t c = columns_; c-- > 1;) {
        const uint64_t key = stages_[c - 1].keys()[id];
        ids[c] = static_cast<uint32_t>(key);
        id = static_cast<uint32_t>(key >> 32);
      }
      ids[0] = id;
      visit(ids.data(), group_counts_[group]);
    }
    return;
  }
  if (!counters_) return;
  if (replica_stride_ == 0 && carried_.empty()) {
    ForEachCell([this](uint64_t cell) -> uint64_t { return counters_->data[cell]; }, visit, ids.data());
  } else {
    ForEachCell([this](uint64_t cell) { return CountAt(cell); }, visit, ids.data());
  }
}

// Goes row by row of the column with stride 1, so that the divisions are done once a row.
template <typename CountOf, typename Visit>
void GroupCounter::ForEachCell(CountOf count_of, Visit visit, uint32_t* ids) const {
  const uint64_t row = columns_ == 0 ? 1 : std::max<uint32_t>(capacity_[order_.back()], 1);
  for (uint64_t start = 0; start < cells_; start += row) {
    bool fresh = true;
    for (uint64_t i = 0; i < row; ++i) {
      const uint64_t count = count_of(start + i);
      if (count == 0) continue;
      if (fresh) {
        uint64_t rest = start;
        for (const size_t c : order_) {
          ids[c] = static_cast<uint32_t>(rest / stride_[c]);
          rest %= stride_[c];
        }
        fresh = false;
      }
      if (columns_ > 0) ids[order_.back()] = static_cast<uint32_t>(i);
      visit(ids, count);
    }
  }
}

void GroupCounter::CarryOver() {
  if (carried_.empty()) carried_.resize(cells_);
  for (uint64_t cell = 0; cell < cells_; ++cell) carried_[cell] = CountAt(cell);
  std::memset(counters_->data, 0, counters_->size * sizeof(uint32_t));
  rows_since_carry_ = 0;
}

// Makes a dense array of exactly these capacities and moves the counts there.
Status GroupCounter::Layout(const std::vector<uint32_t>& capacities) {
  std::vector<size_t> order(columns_);
  std::iota(order.begin(), order.end(), size_t{0});
  // The largest column gets the largest stride: the counters of one of its
  // values then lie together, and a skewed column keeps to few cache lines.
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return capacities[a] > capacities[b]; });
  std::vector<uint32_t> stride(columns_);
  uint64_t cells = 1;
  for (size_t i = columns_; i-- > 0;) {
    stride[order[i]] = static_cast<uint32_t>(cells);
    cells *= std::max<uint32_t>(capacities[order[i]], 1);
  }
  const size_t replica_stride = cells <= kReplicaCells ? static_cast<size_t>(cells) + 1 : 0;
  auto counters = Cells::Make(replica_stride == 0 ? static_cast<size_t>(cells) + 1 : 4 * replica_stride);
  if (!counters) {
    return Status::Memory("cannot allocate " + std::to_string(cells * sizeof(uint32_t)) + " bytes of group counters");
  }
  std::vector<uint64_t> carried(carried_.empty() ? 0 : cells);
  ForEachGroup([&](const uint32_t* ids, uint64_t count) {
    uint64_t cell = 0;
    for (size_t c = 0; c < columns_; ++c) cell += static_cast<uint64_t>(ids[c]) * stride[c];
    if (carried.empty()) {
      counters->data[cell] = static_cast<uint32_t>(count);
    } else {
      carried[cell] = count;
    }
  });
  if (!carried.empty()) rows_since_carry_ = 0;
  capacity_ = capacities;
  order_ = std::move(order);
  stride_ = std::move(stride);
  cells_ = cells;
  replica_stride_ = replica_stride;
  counters_ = std::move(counters);
  carried_ = std::move(carried);
  return {};
}

// Makes room for ids below `cardinalities`.
Status GroupCounter::Reserve(const std::vector<uint32_t>& cardinalities) {
  if (sparse_) return {};
  bool fits = !capacity_.empty() || columns_ == 0;
  for (size_t c = 0; fits && c < columns_; ++c) fits = cardinalities[c] <= capacity_[c];
  if (fits && counters_) return {};
  std::vector<uint32_t> exact = cardinalities;
  std::vector<uint32_t> roomy = cardinalities;
  if (!capacity_.empty()) {
    for (size_t c = 0; c < columns_; ++c) {
      exact[c] = std::max(capacity_[c], cardinalities[c]);
      // A column that grew is likely to grow again.
      const uint64_t more = static_cast<uint64_t>(cardinalities[c]) + cardinalities[c] / 2 + 16;
      roomy[c] =
          cardinalities[c] <= capacity_[c] ? capacity_[c] : static_cast<uint32_t>(std::min<uint64_t>(more, UINT32_MAX));
    }
  }
  if (CellsFor(roomy) != UINT64_MAX) return Layout(roomy);
  if (CellsFor(exact) != UINT64_MAX) return Layout(exact);
  ToSparse();
  return {};
}

uint32_t GroupCounter::SparseGroup(const uint32_t* ids) {
  uint32_t group = ids[0];
  for (size_t c = 1; c < columns_; ++c) {
    group = stages_[c - 1].FindOrInsert(static_cast<uint64_t>(group) << 32 | ids[c]);
  }
  return group;
}

void GroupCounter::AddSparseGroup(const uint32_t* ids, uint64_t count) {
  const uint32_t group = SparseGroup(ids);
  if (group >= group_counts_.size()) group_counts_.resize(static_cast<size_t>(group) + 1);
  group_counts_[group] += count;
}

void GroupCounter::ToSparse() {
  stages_ = std::vector<IdTable>(columns_ - 1);
  ForEachGroup([this](const uint32_t* ids, uint64_t count) { AddSparseGroup(ids, count); });
  sparse_ = true;
  counters_.reset();
  carried_ = {};
  capacity_.clear();
  cells_ = 0;
}

Status GroupCounter::Add(const std::vector<BlockColumn>& columns, size_t n) {
  if (columns.size() != columns_ || n > kBlockRows) return Status::Invalid("a block does not fit its group counter");
  if (n == 0) return {};
  for (const BlockColumn& column : columns) {
    if (column.ids == nullptr && column.constant == kDropped) return {};
  }
  std::vector<uint32_t> cardinalities(columns_);
  for (size_t c = 0; c < columns_; ++c) cardinalities[c] = columns[c].cardinality;
  SEGUE_RETURN_IF_ERROR(Reserve(cardinalities));
  return sparse_ ? AddSparse(columns, n) : AddDense(columns, n);
}

Status GroupCounter::AddDense(const std::vector<BlockColumn>& columns, size_t n) {
  if (rows_since_carry_ + n > UINT32_MAX) CarryOver();
  rows_since_carry_ += n;
  uint32_t base = 0;
  size_t varying = 0;
  for (size_t c = 0; c < columns_; ++c) {
    if (columns[c].ids == nullptr) {
      base += columns[c].constant * stride_[c];
    } else {
      ++varying;
    }
  }
  if (varying == 0) {
    counters_->data[base] += static_cast<uint32_t>(n);
    return {};
  }
  const uint32_t* cells = nullptr;
  for (size_t c = 0; c < columns_; ++c) {
    if (columns[c].ids == nullptr) continue;
    if (cells == nullptr && varying == 1 && base == 0 && stride_[c] == 1) {
      cells = columns[c].ids;  // the ids are the cells
    } else if (cells == nullptr) {
      kernels_.scale(columns[c].ids, stride_[c], base, n, cell_buffer_.data());
      cells = cell_buffer_.data();
    } else {
      kernels_.combine(columns[c].ids, stride_[c], n, cell_buffer_.data());
    }
  }
  kernels_.increment(cells, static_cast<uint32_t>(cells_), replica_stride_, cells_ > kCacheCells, n, counters_->data);
  return {};
}

Status GroupCounter::AddSparse(const std::vector<BlockColumn>& columns, size_t n) {
  std::vector<uint32_t> ids(columns_);
  for (size_t i = 0; i < n; ++i) {
    bool dropped = false;
    for (size_t c = 0; c < columns_; ++c) {
      ids[c] = columns[c].ids == nullptr ? columns[c].constant : columns[c].ids[i];
      dropped |= ids[c] == kDropped;
    }
    if (!dropped) AddSparseGroup(ids.data(), 1);
  }
  if (memory() > memory_bytes_) {
    return Status::Unsupported("too many groups: counting them takes more than " + std::to_string(memory_bytes_) +
                               " bytes");
  }
  return {};
}

Status GroupCounter::Merge(GroupCounter* other) {
  if (other->columns_ != columns_) return Status::Invalid("group counters of different queries cannot be merged");
  if (!other->sparse_ && !other->counters_) return {};
  if (!sparse_ && !other->sparse_) {
    // One layout for both, so that the arrays add up cell by cell.
    std::vector<uint32_t> common = other->capacity_;
    for (size_t c = 0; c < capacity_.size(); ++c) common[c] = std::max(common[c], capacity_[c]);
    if (CellsFor(common) == UINT64_MAX) {
      ToSparse();
    } else {
      if (!counters_ || capacity_ != common) SEGUE_RETURN_IF_ERROR(Layout(common));
      if (other->capacity_ != common) SEGUE_RETURN_IF_ERROR(other->Layout(common));
    }
  }
  if (other->sparse_ && !sparse_) ToSparse();
  if (sparse_) {
    other->ForEachGroup([this](const uint32_t* ids, uint64_t count) { AddSparseGroup(ids, count); });
    return {};
  }
  if (replica_stride_ == 0 && other->carried_.empty() && rows_since_carry_ + other->rows_since_carry_ <= UINT32_MAX) {
    for (uint64_t cell = 0; cell < cells_; ++cell) counters_->data[cell] += other->counters_->data[cell];
    rows_since_carry_ += other->rows_since_carry_;
    return {};
  }
  CarryOver();
  for (uint64_t cell = 0; cell < cells_; ++cell) carried_[cell] += other->CountAt(cell);
  return {};
}

GroupCounts GroupCounter::Finish() {
  size_t groups = 0;
  ForEachGroup([&groups](const uint32_t*, uint64_t) { ++groups; });
  GroupCounts result;
  result.counts.resize(groups);
  result.ids.resize(columns_);
  std::vector<uint32_t*> ids_out(columns_);
  for (size_t c = 0; c < columns_; ++c) {
    result.ids[c].resize(groups);
    ids_out[c] = result.ids[c].data();
  }
  int64_t* counts_out = result.counts.data();
  size_t next = 0;
  ForEachGroup([&](const uint32_t* ids, uint64_t count) {
    for (size_t c = 0; c < columns_; ++c) ids_out[c][next] = ids[c];
    counts_out[next++] = static_cast<int64_t>(count);
  });
  return result;
}

}  // namespace segue::scan
