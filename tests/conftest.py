"""Settings that every test shares."""

from __future__ import annotations

import os

from hypothesis import settings

# Time limits per example only measure how busy the machine is. CI draws the same examples each time, so
# that a red run can be repeated; at home each run looks at new ones.
settings.register_profile("segue", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("segue")
