"""KServe's client, on asyncio: it knows health and inference."""

import base64
import logging

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.infer_type import RequestedOutput
from kserve.utils.numpy_codec import to_np_dtype
from speaking import Refused, reply, speak

logging.getLogger("kserve").setLevel(logging.CRITICAL)  # it logs every refusal with a traceback


def input_of(given):
    """One input tensor; raw bytes or typed contents."""
    tensor = InferInput(given["name"], given["shape"], given["datatype"])
    if given["datatype"] == "BYTES":
        array = np.full(given["shape"], b"x", object)
    else:
        data = base64.b64decode(given["data"])
        array = np.frombuffer(data, to_np_dtype(given["datatype"])).reshape(given["shape"])
    tensor.set_data_from_numpy(array, binary_data=given["form"] == "raw")
    return tensor


class KServe:
    """`kserve.InferenceGRPCClient`."""

    def __init__(self, address):
        self.client = InferenceGRPCClient(address, timeout=30)
        self.close = self.client.close

    async def describe(self):
        """Health."""
        client = self.client
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": await client.is_model_ready("digits"),
            "unknown_ready": await client.is_model_ready("no-such-model"),
        }

    async def infer(self, request):
        """One request."""
        asked = InferRequest(
            model_name=request["model"],
            model_version=request["version"],
            request_id=request["id"],
            infer_inputs=[input_of(given) for given in request["inputs"]],
            request_outputs=[RequestedOutput(name) for name in request["outputs"]],
            parameters=request["parameters"],
        )
        try:
            response = await self.client.infer(asked, timeout=request["timeout_s"])
        except grpc.RpcError as error:
            raise Refused(error.code().name, error.details()) from error
        return reply(
            response,
            [
                (item.name, item.datatype, item.shape, item.as_numpy().tobytes())
                for item in response.outputs
            ],
        )


if __name__ == "__main__":
    speak(KServe, {"typed", "nan"})
