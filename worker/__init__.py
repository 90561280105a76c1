"""A worker: a gRPC server that runs programs on shards, and can be told to be slow, fail or lie.

It moves tensors through exported graphs and knows neither codes nor masters.
"""
