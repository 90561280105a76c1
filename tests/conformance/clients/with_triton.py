"""Triton's own client, blocking."""

import base64
import queue

import numpy as np
import tritonclient.grpc as triton
from speaking import Refused, reply, speak
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

MODEL = "digits"
STREAM_S = 30.0


def input_of(module, given):
    """One input tensor; raw bytes or typed contents."""
    tensor = module.InferInput(given["name"], given["shape"], given["datatype"])
    data = base64.b64decode(given["data"])
    if given["datatype"] == "BYTES":
        array = np.full(given["shape"], b"x", object)
    else:
        array = np.frombuffer(data, triton_to_np_dtype(given["datatype"])).reshape(given["shape"])
    tensor.set_data_from_numpy(array)
    if given["form"] == "typed":  # it sends raw bytes only, the protocol allows both
        contents = tensor._get_tensor().contents
        field = contents.fp32_contents if array.dtype == np.float32 else contents.uint_contents
        field.extend(array.ravel().tolist())
        tensor._raw_content = None
    return tensor


def arguments(module, request):
    """What `infer` is called with."""
    return {
        "model_name": request["model"],
        "inputs": [input_of(module, given) for given in request["inputs"]],
        "model_version": request["version"],
        "request_id": request["id"],
        "outputs": [module.InferRequestedOutput(name) for name in request["outputs"]] or None,
        "parameters": request["parameters"] or None,
    }


def answer_of(result):
    """An answer as JSON."""
    message = result.get_response()
    return reply(
        message,
        [
            (item.name, item.datatype, item.shape, result.as_numpy(item.name).tobytes())
            for item in message.outputs
        ],
    )


def refusal_of(error):
    """The same refusal in the words of all clients."""
    return Refused(str(error.status()).removeprefix("StatusCode."), error.message())


def description(live, ready, model_ready, unknown_ready, server, metadata, config):
    """Health, metadata and configuration as JSON."""
    return {
        "live": live,
        "ready": ready,
        "model_ready": model_ready,
        "unknown_ready": unknown_ready,
        "server": server.name,
        "extensions": list(server.extensions),
        "inputs": [[item.name, item.datatype, list(item.shape)] for item in metadata.inputs],
        "outputs": [item.name for item in metadata.outputs],
        "max_batch_size": config.max_batch_size,
        "dims": list(config.input[0].dims),
        "code": config.parameters["code"].string_value,
    }


def counters(seen):
    """A model's statistics as JSON."""
    return {
        "rows": seen.inference_count,
        "success": seen.inference_stats.success.count,
        "compute_ns": seen.inference_stats.compute_infer.ns,
    }


class Triton:
    """`tritonclient.grpc.InferenceServerClient`."""

    def __init__(self, address):
        self.client = triton.InferenceServerClient(address)
        self.close = self.client.close

    def describe(self):
        """Health, metadata, configuration."""
        client = self.client
        return description(
            client.is_server_live(),
            client.is_server_ready(),
            client.is_model_ready(MODEL),
            client.is_model_ready("no-such-model"),
            client.get_server_metadata(),
            client.get_model_metadata(MODEL),
            client.get_model_config(MODEL).config,
        )

    def infer(self, request):
        """One request."""
        try:
            result = self.client.infer(
                **arguments(triton, request), client_timeout=request["timeout_s"]
            )
        except InferenceServerException as error:
            raise refusal_of(error) from error
        return answer_of(result)

    def stream(self, requests):
        """All of them over one stream, answered to a callback."""
        came = queue.Queue()
        self.client.start_stream(lambda result, error: came.put((result, error)))
        for request in requests:
            self.client.async_stream_infer(**arguments(triton, request))
        seen = [came.get(timeout=STREAM_S) for _ in requests]
        self.client.stop_stream()
        return {
            "ids": sorted(r.get_response().id for r, error in seen if error is None),
            "errors": [str(error) for _, error in seen if error is not None],
        }

    def statistics(self):
        """The counters, now."""
        return counters(self.client.get_inference_statistics(MODEL).model_stats[0])


if __name__ == "__main__":
    speak(Triton, {"typed", "nan", "stream", "statistics"})
