"""MLServer's stub with its converters and NumPy codec."""

import base64

import grpc
import numpy as np
from mlserver.codecs import NumpyCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import Datatype, InferenceRequest, Parameters, RequestInput, RequestOutput
from speaking import Refused, reply, speak

DTYPES = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8, "INT32": np.int32}
LIMITS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


def input_of(given):
    """One input tensor, encoded by the codec."""
    if given["datatype"] == "BYTES":
        return RequestInput(
            name=given["name"],
            shape=given["shape"],
            datatype=Datatype.BYTES,
            data=[b"x"] * given["shape"][0],
        )
    data = base64.b64decode(given["data"])
    array = np.frombuffer(data, DTYPES[given["datatype"]]).reshape(given["shape"])
    tensor = NumpyCodec.encode_input(given["name"], array)
    tensor.shape = given["shape"]  # the codec makes [b] of one dimension to [b, 1]
    return tensor


class MLServer:
    """`mlserver.grpc`, without its server."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address, LIMITS)
        self.close = self.channel.close
        self.stub = GRPCInferenceServiceStub(self.channel)

    def describe(self):
        """Health and metadata."""
        stub = self.stub
        server = converters.ServerMetadataResponseConverter.to_types(
            stub.ServerMetadata(pb.ServerMetadataRequest())
        )
        model = converters.ModelMetadataResponseConverter.to_types(
            stub.ModelMetadata(pb.ModelMetadataRequest(name="digits"))
        )
        return {
            "live": stub.ServerLive(pb.ServerLiveRequest()).live,
            "ready": stub.ServerReady(pb.ServerReadyRequest()).ready,
            "model_ready": stub.ModelReady(pb.ModelReadyRequest(name="digits")).ready,
            "unknown_ready": stub.ModelReady(pb.ModelReadyRequest(name="no-such-model")).ready,
            "server": server.name,
            "extensions": server.extensions,
            "inputs": [[item.name, item.datatype, item.shape] for item in model.inputs],
            "outputs": [item.name for item in model.outputs],
        }

    def infer(self, request):
        """One request."""
        asked = InferenceRequest(
            id=request["id"],
            parameters=Parameters(**request["parameters"]),
            inputs=[input_of(given) for given in request["inputs"]],
            outputs=[RequestOutput(name=name) for name in request["outputs"]],
        )
        message = converters.ModelInferRequestConverter.from_types(
            asked,
            request["model"],
            request["version"],
            use_raw=all(given["form"] == "raw" for given in request["inputs"]),
        )
        try:
            answered = self.stub.ModelInfer(message, timeout=request["timeout_s"])
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error
        response = converters.ModelInferResponseConverter.to_types(answered)
        return reply(
            response,
            [
                (
                    item.name,
                    Datatype(item.datatype).value,
                    item.shape,
                    NumpyCodec.decode_output(item).tobytes(),
                )
                for item in response.outputs
            ],
        )


if __name__ == "__main__":
    speak(MLServer, {"typed"})  # its codec sends null for NaN
