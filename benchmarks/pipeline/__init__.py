"""Act 2: the nightly job and its sort, beside engines that do the same work."""
