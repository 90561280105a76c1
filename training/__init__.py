"""All that is learned: trains the networks of `models` and, on top of them, the learned codes.

Knows `codes` and `models`; a served program knows nothing of its training.
"""
