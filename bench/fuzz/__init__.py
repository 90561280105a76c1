"""Fuzzing: requests that no client would send, and whether the services shrug them off."""
