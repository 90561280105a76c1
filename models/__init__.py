"""What workers can run: networks, data sets, programs (exported graphs) and the model store.

Knows no code, no master and no network: other packages import from here, never the reverse.
"""
