#include "base/packed_kernels.h"

namespace segue {

Result<const PackedKernels*> PackedKernelsFor(Isa isa) {
  if (CpuHas(isa)) {
    if (isa == Isa::kScalar) return &kScalarPackedKernels;
#if defined(__x86_64__)
    if (isa == Isa::kAvx2) return &kAvx2PackedKernels;
#endif
  }
  return Status::Unsupported(std::string("no kernels for ") + IsaName(isa) +
                             " on this CPU or in this build; use 'scalar'");
}

const PackedKernels& ActivePackedKernels() {
  static const PackedKernels* active = [] {
    const Result<Isa> isa = ActiveIsa();
    if (!isa.ok()) return &kScalarPackedKernels;
    const Result<const PackedKernels*> kernels = PackedKernelsFor(*isa);
    return kernels.ok() ? *kernels : &kScalarPackedKernels;
  }();
  return *active;
}

}  // namespace segue
