#include "scan/kernels.h"

namespace segue::scan {

Result<const ScanKernels*> ScanKernelsFor(Isa isa) {
  if (CpuHas(isa)) {
    if (isa == Isa::kScalar) return ScalarScanKernels();
    if (isa == Isa::kAvx2 && Avx2ScanKernels() != nullptr) return Avx2ScanKernels();
  }
  return Status::Unsupported(std::string("no scan kernels for ") + IsaName(isa) +
                             " on this CPU or in this build; use 'scalar'");
}

Result<const ScanKernels*> ActiveScanKernels() {
  SEGUE_ASSIGN_OR_RETURN(const Isa isa, ActiveIsa());
  return ScanKernelsFor(isa);
}

}  // namespace segue::scan
