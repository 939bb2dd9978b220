#include "base/mapping_guard.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace segue {
namespace {

struct sigaction previous_action;  // set once, before a region is guarded

// Calls what is safe in a signal handler only: mmap is a bare system call on
// the systems that we build for.
void OnBusError(int number, siginfo_t* info, void* context) {
  const int error = errno;
  const bool replaced = MappingGuard::Replace(reinterpret_cast<uintptr_t>(info->si_addr));
  errno = error;
  if (replaced) return;
  if ((previous_action.sa_flags & SA_SIGINFO) != 0) {
    previous_action.sa_sigaction(number, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(number);
  } else {
    // As without us: the process ends, once this handler has returned.
    ::sigaction(number, &previous_action, nullptr);
    ::raise(number);
  }
}

bool Install() {
  struct sigaction action = {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  if (::sigaction(SIGBUS, nullptr, &previous_action) != 0) return false;
  return ::sigaction(SIGBUS, &action, nullptr) == 0;
}

uintptr_t PageSize() { return static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE)); }

}  // namespace

std::atomic<MappingGuard::Region*> MappingGuard::regions_{nullptr};

MappingGuard::Region* MappingGuard::Take() {
  for (Region* region = regions_.load(std::memory_order_acquire); region != nullptr; region = region->next) {
    if (!region->taken.exchange(true, std::memory_order_acq_rel)) return region;
  }
  auto* region = new Region;  // never freed: the handler may be looking at it
  region->next = regions_.load(std::memory_order_relaxed);
  while (!regions_.compare_exchange_weak(region->next, region, std::memory_order_acq_rel)) {
  }
  return region;
}

MappingGuard::MappingGuard(void* data, size_t size) : region_(Take()) {
  static const bool installed = Install();
  static_cast<void>(installed);
  const auto begin = reinterpret_cast<uintptr_t>(data);
  region_->lost.store(false, std::memory_order_relaxed);
  region_->end.store(begin + size, std::memory_order_release);
  region_->begin.store(begin, std::memory_order_release);
}

MappingGuard::~MappingGuard() {
  region_->begin.store(0, std::memory_order_release);
  region_->taken.store(false, std::memory_order_release);
}

bool MappingGuard::Replace(uintptr_t address) {
  for (Region* region = regions_.load(std::memory_order_acquire); region != nullptr; region = region->next) {
    const uintptr_t begin = region->begin.load(std::memory_order_acquire);
    const uintptr_t end = region->end.load(std::memory_order_acquire);
    // A region that is being taken again has begin 0 before it has another end.
    if (begin == 0 || begin != region->begin.load(std::memory_order_acquire)) continue;
    if (address < begin || address >= end) continue;
    // First: nobody may see the store done and the loss not.
    region->lost.store(true, std::memory_order_release);
    const uintptr_t page = address / PageSize() * PageSize();
    void* replaced = ::mmap(reinterpret_cast<void*>(page), PageSize(), PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    return replaced != MAP_FAILED;
  }
  return false;
}

}  // namespace segue
