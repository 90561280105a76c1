"""Nodes that train a network together without a master, over gRPC.

What a node does is decided in `training.coded`; here it is reached, and reaches the others.
"""
