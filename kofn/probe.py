"""`python -m kofn.probe HOST:PORT [SERVICE]`: whether it says that it serves, for health checks.

Asks the standard gRPC health service and imports nothing but gRPC: a container runs this every few
seconds, beside the service whose processor time it takes. KOFN_TLS and KOFN_TLS_PEER_NAME are as
of the command `kofn`.
"""

import os
import sys
from pathlib import Path

import grpc

CHECK = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"  # HealthCheckResponse{status: SERVING}
NAME = b"\x0a"  # field 1 of HealthCheckRequest; its length follows. Nothing is all services
LONGEST = 127  # a length of one byte
TIMEOUT_S = 3.0
USAGE_ERROR = 2


def probe(target: str, service: str = "") -> str:
    """What is wrong with a service at "host:port", default all of it; empty when it serves."""
    name = service.encode()[:LONGEST]
    request = NAME + bytes([len(name)]) + name if name else b""
    with _channel(target) as channel:
        check = channel.unary_unary(CHECK, request_serializer=bytes, response_deserializer=bytes)
        try:
            reply = check(request, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "" if reply == SERVING else "it does not serve"


def _channel(target: str) -> grpc.Channel:
    folder = os.environ.get("KOFN_TLS")
    if not folder:
        return grpc.insecure_channel(target)
    from kofn.wire.tls import Tls

    tls = Tls.in_folder(Path(folder), os.environ.get("KOFN_TLS_PEER_NAME"))
    return grpc.secure_channel(target, tls.client_credentials(), options=tls.channel_options())


def main(arguments: list[str]) -> int:
    """0 when it serves, 1 when not, 2 for a wrong argument."""
    if len(arguments) not in (1, 2) or arguments[0].startswith("-"):
        sys.stderr.write("usage: python -m kofn.probe HOST:PORT [SERVICE]\n")
        return USAGE_ERROR
    try:
        wrong = probe(*arguments)
    except ValueError as error:  # of a TLS file
        wrong = str(error)
    if wrong:
        sys.stderr.write(f"{arguments[0]}: {wrong}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
