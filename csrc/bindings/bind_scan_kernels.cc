// Single scan kernels and the page header parser, for the test suite: each ISA
// by name, so that one process can compare them all.
#include <pybind11/numpy.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "scan/bit_unpack.h"
#include "scan/group_count.h"
#include "scan/kernels.h"
#include "scan/parquet_page.h"

namespace segue::bindings {

void BindScanKernels(pybind11::module_& m);

namespace py = pybind11;
using namespace segue::scan;  // NOLINT: one act, one binding file

namespace {

using Ids = py::array_t<uint32_t, py::array::c_style | py::array::forcecast>;

const ScanKernels& KernelsByName(const std::string& name) {
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (name == IsaName(isa)) return *Unwrap(ScanKernelsFor(isa));
  }
  ThrowIfError(Status::Invalid("unknown instruction set '" + name + "'"));
  return *ScalarScanKernels();
}

std::vector<std::string> AvailableIsas() {
  std::vector<std::string> names;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (ScanKernelsFor(isa).ok()) names.emplace_back(IsaName(isa));
  }
  return names;
}

// A copy with kKernelPad more slots, as the kernels ask for.
std::vector<uint32_t> Padded(const Ids& values) {
  std::vector<uint32_t> copy(values.data(), values.data() + values.size());
  copy.resize(copy.size() + kKernelPad);
  return copy;
}

Ids FirstOf(const std::vector<uint32_t>& values, size_t n) { return Ids(static_cast<py::ssize_t>(n), values.data()); }

void CheckWidth(int width) {
  if (width < 0 || width > 32) ThrowIfError(Status::Invalid("a bit width of " + std::to_string(width)));
}

Ids Unpack(const std::string& isa, const py::bytes& data, int width, uint64_t first, size_t n) {
  const std::string_view bytes = data;
  CheckWidth(width);
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  std::vector<uint32_t> out(n);
  KernelsByName(isa).packed->unpack32(p, p + bytes.size(), width, first, n, 0, out.data());
  return FirstOf(out, n);
}

// Reads in pieces of `piece` values; None when the stream ends early or is damaged.
py::object Hybrid(const std::string& isa, const py::bytes& data, int width, size_t n, size_t piece) {
  const std::string_view bytes = data;
  CheckWidth(width);
  if (piece == 0) ThrowIfError(Status::Invalid("a piece of 0 values"));
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  HybridReader reader;
  reader.Reset(p, p + bytes.size(), width);
  std::vector<uint32_t> out(n);
  for (size_t start = 0; start < n; start += piece) {
    if (!reader.Read(KernelsByName(isa), std::min(piece, n - start), out.data() + start)) return py::none();
  }
  return FirstOf(out, n);
}

Ids Gather(const std::string& isa, const Ids& map, const Ids& codes) {
  const auto n = static_cast<size_t>(codes.size());
  const ScanKernels& kernels = KernelsByName(isa);
  if (n > 0 && kernels.packed->max(codes.data(), n) >= map.size())
    ThrowIfError(Status::Invalid("a code is out of range"));
  std::vector<uint32_t> out(n);
  kernels.packed->gather(map.data(), codes.data(), n, out.data());
  return FirstOf(out, n);
}

uint32_t Max(const std::string& isa, const Ids& values) {
  return KernelsByName(isa).packed->max(values.data(), static_cast<size_t>(values.size()));
}

Ids Combine(const std::string& isa, const Ids& first, uint32_t first_stride, uint32_t base, const Ids& second,
            uint32_t second_stride) {
  const auto n = static_cast<size_t>(first.size());
  if (second.size() != first.size()) ThrowIfError(Status::Invalid("arrays of different lengths"));
  std::vector<uint32_t> out(n);
  KernelsByName(isa).scale(first.data(), first_stride, base, n, out.data());
  KernelsByName(isa).combine(second.data(), second_stride, n, out.data());
  return FirstOf(out, n);
}

Ids Expand(const std::string& isa, const Ids& levels, const Ids& ids, uint32_t null_id) {
  const auto n = static_cast<size_t>(levels.size());
  const uint32_t present = std::count(levels.data(), levels.data() + n, 1u);
  if (KernelsByName(isa).packed->max(levels.data(), n) > 1 || present > ids.size()) {
    ThrowIfError(Status::Invalid("levels are 0 or 1, with an id for each 1"));
  }
  const std::vector<uint32_t> padded_levels = Padded(levels);
  const std::vector<uint32_t> padded_ids = Padded(ids);
  std::vector<uint32_t> out(n + kKernelPad);
  KernelsByName(isa).expand(padded_levels.data(), padded_ids.data(), null_id, n, out.data());
  return FirstOf(out, n);
}

// Counts per cell; dropped cells go to the slot `limit`.
Ids Increment(const std::string& isa, const Ids& cells, uint32_t limit, bool replicas, bool prefetch) {
  if (replicas && prefetch) ThrowIfError(Status::Invalid("replicas are for small arrays, prefetching for large ones"));
  const size_t stride = static_cast<size_t>(limit) + 1;
  std::vector<uint32_t> counters(replicas ? 4 * stride : stride);
  KernelsByName(isa).increment(cells.data(), limit, replicas ? stride : 0, prefetch, static_cast<size_t>(cells.size()),
                               counters.data());
  for (size_t i = stride; i < counters.size(); ++i) counters[i % stride] += counters[i];
  return FirstOf(counters, stride);
}

// A GroupCounter fed with whole columns of ids, as often as one likes.
class GroupCount {
 public:
  GroupCount(const std::string& isa, std::vector<uint32_t> cardinalities, size_t dense_bytes, uint64_t expected_rows)
      : kernels_(KernelsByName(isa)),
        cardinalities_(std::move(cardinalities)),
        counter_(kernels_, cardinalities_.size(), dense_bytes, kMemoryBytes, expected_rows) {}

  void Count(const std::vector<Ids>& columns) {
    if (columns.size() != cardinalities_.size() || columns.empty()) ThrowIfError(Status::Invalid("other columns"));
    const auto n = static_cast<size_t>(columns[0].size());
    std::vector<BlockColumn> block(columns.size());
    for (size_t c = 0; c < columns.size(); ++c) {
      if (static_cast<size_t>(columns[c].size()) != n) ThrowIfError(Status::Invalid("columns of different lengths"));
      block[c].cardinality = cardinalities_[c];
    }
    Status status;
    {
      const GilRelease release;
      for (size_t begin = 0; begin < n && status.ok(); begin += GroupCounter::kBlockRows) {
        const size_t m = std::min(GroupCounter::kBlockRows, n - begin);
        for (size_t c = 0; c < columns.size() && status.ok(); ++c) {
          block[c].ids = columns[c].data() + begin;
          // As a scan checks the codes of its pages.
          if (kernels_.packed->max(block[c].ids, m) >= cardinalities_[c])
            status = Status::Invalid("an id is out of range");
        }
        if (status.ok()) status = counter_.Add(block, m);
      }
    }
    ThrowIfError(status);
  }

  // (ids of each column, counts) of the groups
  py::tuple Finish() {
    const GroupCounts groups = counter_.Finish();
    py::list ids;
    for (const std::vector<uint32_t>& column : groups.ids) ids.append(FirstOf(column, column.size()));
    return py::make_tuple(ids,
                          py::array_t<int64_t>(static_cast<py::ssize_t>(groups.counts.size()), groups.counts.data()));
  }

  const char* isa() const { return IsaName(kernels_.isa); }
  bool dense() const { return counter_.dense(); }
  size_t memory() const { return counter_.memory(); }

 private:
  static constexpr size_t kMemoryBytes = size_t{2} << 30;
  const ScanKernels& kernels_;
  const std::vector<uint32_t> cardinalities_;
  GroupCounter counter_;
};

py::dict ParseHeader(const py::bytes& data, const std::string& path, int64_t offset) {
  const PageHeader header = Unwrap(ParsePageHeader(std::string_view(data), path, offset));
  py::dict fields;
  fields["type"] = static_cast<int>(header.type);
  fields["uncompressed_size"] = header.uncompressed_size;
  fields["compressed_size"] = header.compressed_size;
  fields["num_values"] = header.num_values;
  fields["encoding"] = static_cast<int>(header.encoding);
  fields["level_encoding"] = static_cast<int>(header.level_encoding);
  fields["num_nulls"] = header.num_nulls;
  fields["definition_bytes"] = header.definition_bytes;
  fields["repetition_bytes"] = header.repetition_bytes;
  fields["values_compressed"] = header.values_compressed;
  fields["header_size"] = header.header_size;
  return fields;
}

}  // namespace

void BindScanKernels(py::module_& m) {
  m.def("scan_isas", &AvailableIsas, "The instruction sets that scan kernels can run with here.");
  m.def("scan_unpack", &Unpack, py::arg("isa"), py::arg("data"), py::arg("width"), py::arg("first"), py::arg("n"));
  m.def("scan_hybrid", &Hybrid, py::arg("isa"), py::arg("data"), py::arg("width"), py::arg("n"), py::arg("piece"));
  m.def("scan_gather", &Gather, py::arg("isa"), py::arg("map"), py::arg("codes"));
  m.def("scan_max", &Max, py::arg("isa"), py::arg("values"));
  m.def("scan_combine", &Combine, py::arg("isa"), py::arg("first"), py::arg("first_stride"), py::arg("base"),
        py::arg("second"), py::arg("second_stride"));
  m.def("scan_expand", &Expand, py::arg("isa"), py::arg("levels"), py::arg("ids"), py::arg("null_id"));
  m.def("scan_increment", &Increment, py::arg("isa"), py::arg("cells"), py::arg("limit"), py::arg("replicas"),
        py::arg("prefetch"));
  m.def("parse_page_header", &ParseHeader, py::arg("data"), py::arg("path"), py::arg("offset"));

  // Loops for benchmarks/kernels.
  py::module_ testing = m.def_submodule("testing", "Seams of the core for the test suite. Not for users.");
  py::class_<GroupCount>(testing, "GroupCount", "Counts rows by ids, with the kernels of one instruction set.")
      .def(py::init<const std::string&, std::vector<uint32_t>, size_t, uint64_t>(), py::arg("isa"),
           py::arg("cardinalities"), py::arg("dense_bytes"), py::arg("expected_rows"))
      .def("count", &GroupCount::Count, py::arg("columns"))
      .def("finish", &GroupCount::Finish, "(ids of each column, counts) of the groups.")
      .def_property_readonly("isa", &GroupCount::isa)
      .def_property_readonly("dense", &GroupCount::dense)
      .def_property_readonly("memory", &GroupCount::memory);
}

}  // namespace segue::bindings
