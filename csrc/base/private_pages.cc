#include "base/private_pages.h"

#include <sys/mman.h>
#include <unistd.h>

namespace segue {
namespace {

size_t PageSize() { return static_cast<size_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

PrivatePages::PrivatePages(size_t size) : size_(size) {
#if defined(MAP_NORESERVE)
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
#else
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
#endif
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (data != MAP_FAILED) data_ = static_cast<uint8_t*>(data);
}

PrivatePages::~PrivatePages() {
  if (data_ != nullptr) ::munmap(data_, size_);
}

void PrivatePages::Prepare(size_t begin, size_t end) {
#if defined(__linux__)
  const size_t from = begin / PageSize() * PageSize();
  if (begin < end) (void)::madvise(data_ + from, end - from, MADV_POPULATE_WRITE);  // Linux 5.14; else by faults
#else
  (void)begin;
  (void)end;
#endif
}

void PrivatePages::Discard(size_t begin, size_t end) {
  const size_t page = PageSize();
  const size_t from = (begin + page - 1) / page * page;
  const size_t to = end / page * page;
  if (from < to) (void)::madvise(data_ + from, to - from, MADV_DONTNEED);
}

}  // namespace segue
