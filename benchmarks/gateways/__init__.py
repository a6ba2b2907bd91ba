"""What measuring a gateway takes: a mock worker, a load client, its rivals, and probes."""
