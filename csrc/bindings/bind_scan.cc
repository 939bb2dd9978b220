// Act 3: the columnar scan.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindScan(pybind11::module_&) {}

}  // namespace segue::bindings
