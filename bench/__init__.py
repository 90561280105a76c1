"""Benchmarks: `python -m bench NAME`. They measure the running system; nothing here serves."""
