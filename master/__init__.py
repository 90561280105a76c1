"""The master: takes queries, scatters coded shards over workers, answers what can be decoded.

The modules that decide (`batcher`, `gather` with `gains`, `policy`, `assignment`, `latency`) are
pure: no I/O, no clock, no tensors.
"""
