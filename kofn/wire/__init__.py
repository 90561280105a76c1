"""What travels between client, master and workers: messages, tensors, errors, channels.

`*_pb2*` are generated from `protos/`. Nothing here knows a code, a model or a queue.
"""

import os

# gRPC's core writes a line to standard error for every connection that a peer ends, which is no
# news here; it reads this when it is first imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
