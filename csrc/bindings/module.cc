// The _engine extension module. Each act binds its coarse classes in a file of
// its own; each bound call that can take long releases the GIL once.
#include "bindings/bindings.h"

PYBIND11_MODULE(_engine, m) {
  m.doc() = "Segue's native core. Use it through the segue package.";
  segue::bindings::BindErrors(m);
  segue::bindings::BindLogging();
  segue::bindings::BindEvents(m);
  segue::bindings::BindPipeline(m);
  segue::bindings::BindScan(m);
  segue::bindings::BindKernels(m);
  segue::bindings::BindSstable(m);
  segue::bindings::BindTesting(m);
}
