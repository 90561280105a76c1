"""The table of split Lagrange networks, beside all that needs no such training."""
