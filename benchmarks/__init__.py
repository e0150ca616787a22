"""What Driftline costs, measured beside what else could be used. `python -m benchmarks --help`."""
