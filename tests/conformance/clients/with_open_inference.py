"""The reference stubs of the Open Inference Protocol: bare messages, so malformed ones too."""

import array
import base64

import grpc
from open_inference.grpc import protocol as pb
from open_inference.grpc.service import GRPCInferenceServiceStub
from speaking import Refused, reply, speak


def input_of(given):
    """One input tensor, with typed contents where it has them."""
    tensor = pb.ModelInferRequest.InferInputTensor(
        name=given["name"], datatype=given["datatype"], shape=given["shape"]
    )
    if given["form"] != "raw":
        data = base64.b64decode(given["data"])
        if given["datatype"] == "FP32":
            tensor.contents.fp32_contents.extend(array.array("f", data))
        else:
            tensor.contents.uint_contents.extend(data)
    return tensor


class OpenInference:
    """`open_inference.grpc`."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.close = self.channel.close
        self.stub = GRPCInferenceServiceStub(self.channel)

    def describe(self):
        """Health and metadata."""
        stub = self.stub
        server = stub.ServerMetadata(pb.ServerMetadataRequest())
        model = stub.ModelMetadata(pb.ModelMetadataRequest(name="digits"))
        return {
            "live": stub.ServerLive(pb.ServerLiveRequest()).live,
            "ready": stub.ServerReady(pb.ServerReadyRequest()).ready,
            "model_ready": stub.ModelReady(pb.ModelReadyRequest(name="digits")).ready,
            "unknown_ready": stub.ModelReady(pb.ModelReadyRequest(name="no-such-model")).ready,
            "server": server.name,
            "extensions": list(server.extensions),
            "inputs": [[item.name, item.datatype, list(item.shape)] for item in model.inputs],
            "outputs": [item.name for item in model.outputs],
        }

    def infer(self, request):
        """One request."""
        message = pb.ModelInferRequest(
            model_name=request["model"],
            model_version=request["version"],
            id=request["id"],
            inputs=[input_of(given) for given in request["inputs"]],
            outputs=[{"name": name} for name in request["outputs"]],
            raw_input_contents=[
                base64.b64decode(given["data"])
                for given in request["inputs"]
                if given["form"] != "typed"
            ],
        )
        for name, value in request["parameters"].items():
            kinds = {bool: "bool_param", int: "int64_param", str: "string_param"}
            setattr(message.parameters[name], kinds[type(value)], value)
        try:
            answered = self.stub.ModelInfer(message, timeout=request["timeout_s"])
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error
        return reply(
            answered,
            [
                (item.name, item.datatype, item.shape, raw)
                for item, raw in zip(answered.outputs, answered.raw_output_contents, strict=True)
            ],
        )


if __name__ == "__main__":
    speak(OpenInference, {"typed", "nan", "stubs"})
