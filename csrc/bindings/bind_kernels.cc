// segue.kernels: the kernels on Arrow data.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindKernels(pybind11::module_&) {}

}  // namespace segue::bindings
