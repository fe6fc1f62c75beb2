"""What the tools call: command lines, steps, runs of frozen tasks, benchmarks."""
