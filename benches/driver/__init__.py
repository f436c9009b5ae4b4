"""Compares the agent with other programs that store files on S3: see `benches/run --help`."""
