// The bloom filter, and the SSTable for the test suite.
#include "bindings/bindings.h"

namespace segue::bindings {

void BindSstable(pybind11::module_&) {}

}  // namespace segue::bindings
