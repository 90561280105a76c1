"""Clients of a master, blocking (`sync`) and asynchronous (`aio`), with the same methods.

They need gRPC, protobuf and NumPy only, and know nothing of codes, models or workers.
"""
