"""Open-loop load: requests leave at given times, whatever became of those before."""
