"""Act 3: dashboard queries over a star schema, beside engines that read the same files."""
