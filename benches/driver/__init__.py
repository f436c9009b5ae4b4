"""Measures the agent beside others that store files on S3: see `benches/run --help`."""
