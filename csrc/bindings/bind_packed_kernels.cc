// _engine.testing: the kernels of packed integers by instruction set, so that one
// process can compare them all, and loops over them for benchmarks/kernels.
#include <pybind11/numpy.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/packed_kernels.h"
#include "bindings/bindings.h"
#include "bindings/gil.h"
#include "events/bit_pack.h"

namespace segue::bindings {

namespace py = pybind11;

namespace {

const PackedKernels& PackedKernelsByName(const std::string& name) {
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    if (name == IsaName(isa)) return *Unwrap(PackedKernelsFor(isa));
  }
  ThrowIfError(Status::Unsupported("unknown instruction set '" + name + "'"));
  return kScalarPackedKernels;
}

// A copy of bytes behind which no memory follows: one byte read too many ends the process.
class FencedBytes {
 public:
  explicit FencedBytes(std::string_view bytes) : size_(bytes.size()) {
    const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
    const size_t body = (size_ + page - 1) / page * page;
    mapped_ = body + page;
    void* map = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) ThrowIfError(Status::Io("anonymous memory", errno, "mmap failed"));
    map_ = static_cast<uint8_t*>(map);
    if (::mprotect(map_ + body, page, PROT_NONE) != 0) {
      ThrowIfError(Status::Io("anonymous memory", errno, "mprotect failed"));
    }
    end_ = map_ + body;
    if (size_ > 0) std::memcpy(end_ - size_, bytes.data(), size_);
  }
  ~FencedBytes() { ::munmap(map_, mapped_); }
  FencedBytes(const FencedBytes&) = delete;
  FencedBytes& operator=(const FencedBytes&) = delete;

  const uint8_t* begin() const { return end_ - size_; }
  const uint8_t* end() const { return end_; }

 private:
  size_t size_;
  size_t mapped_ = 0;
  uint8_t* map_ = nullptr;
  uint8_t* end_ = nullptr;
};

void CheckWidths(int width, int bits) {
  if (width < 0 || width > 64) ThrowIfError(Status::Invalid("a bit width of " + std::to_string(width)));
  if (bits != 32 && bits != 64) ThrowIfError(Status::Invalid("values of " + std::to_string(bits) + " bits"));
}

py::array_t<uint64_t> UnpackFenced(const std::string& isa, const py::bytes& data, int width, uint64_t first, size_t n,
                                   uint64_t base, int bits) {
  CheckWidths(width, bits);
  const FencedBytes bytes{std::string_view(data)};
  const PackedKernels& kernels = PackedKernelsByName(isa);
  std::vector<uint64_t> out(n);
  if (bits == 64) {
    kernels.unpack64(bytes.begin(), bytes.end(), width, first, n, base, out.data());
  } else {
    std::vector<uint32_t> values(n);
    kernels.unpack32(bytes.begin(), bytes.end(), width, first, n, static_cast<uint32_t>(base), values.data());
    std::copy(values.begin(), values.end(), out.begin());
  }
  return py::array_t<uint64_t>(static_cast<py::ssize_t>(n), out.data());
}

template <typename T, typename UnpackTo>
uint64_t LastOfBlocks(UnpackTo unpack, std::string_view data, int width, size_t n, size_t block) {
  const auto* p = reinterpret_cast<const uint8_t*>(data.data());
  std::vector<T> out(block);
  const GilRelease release;
  uint64_t sum = 0;
  for (size_t first = 0; first < n; first += block) {
    const size_t m = std::min(block, n - first);
    unpack(p, p + data.size(), width, first, m, T{0}, out.data());
    sum += out[m - 1];
  }
  return sum;
}

// Unpacks n values in blocks, into memory that stays in the cache, as a scan does: the instruction set
// that ran, and the sum of the last value of each block.
std::pair<std::string, uint64_t> UnpackBlocks(const std::string& isa, const py::bytes& data, int width, size_t n,
                                              size_t block, int bits) {
  CheckWidths(width, bits);
  const std::string_view bytes = data;
  if (block == 0 || bytes.size() < PackedBytes(n, width)) {
    ThrowIfError(Status::Invalid("the bytes hold fewer values"));
  }
  const PackedKernels& kernels = PackedKernelsByName(isa);
  const uint64_t sum = bits == 64 ? LastOfBlocks<uint64_t>(kernels.unpack64, bytes, width, n, block)
                                  : LastOfBlocks<uint32_t>(kernels.unpack32, bytes, width, n, block);
  return {IsaName(kernels.isa), sum};
}

}  // namespace

void BindPackedKernels(py::module_& testing) {
  testing.def("packed_isas", [] {
    std::vector<std::string> names;
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
      if (PackedKernelsFor(isa).ok()) names.emplace_back(IsaName(isa));
    }
    return names;
  });
  testing.def("active_packed_isa", [] { return IsaName(ActivePackedKernels().isa); });
  testing.def("packed_unpack", &UnpackFenced, py::arg("isa"), py::arg("data"), py::arg("width"), py::arg("first"),
              py::arg("n"), py::arg("base"), py::arg("bits"), "From memory that ends with the data.");
  testing.def("packed_unpack_blocks", &UnpackBlocks, py::arg("isa"), py::arg("data"), py::arg("width"), py::arg("n"),
              py::arg("block"), py::arg("bits"), "(instruction set that ran, sum of the last value of each block).");
}

}  // namespace segue::bindings
