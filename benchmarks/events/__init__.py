"""Act 1: ingest, acknowledgement latency, point reads and recovery, beside key-value stores."""
