"""What travels between client, master and workers: messages, tensors, errors, channels.

`*_pb2*` are generated from `protos/`. Nothing here knows a code, a model or a queue.
"""
