"""Speaks to a master through tritonclient, in an environment that knows nothing of kofn.

Usage: triton.py ADDRESS IMAGES.npy. Prints one JSON object: what each scenario gave.
"""

import asyncio
import json
import sys

import numpy as np
import tritonclient.grpc as sync_client
import tritonclient.grpc.aio as aio_client
from tritonclient.utils import InferenceServerException

MODEL = "digits"


def status_of(call):
    """The status and message with which a call was refused; None when it was not."""
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return None


def image_input(client_module, images, datatype, name="input", raw=True):
    """One input tensor; raw bytes or typed contents."""
    tensor = client_module.InferInput(name, list(images.shape), datatype)
    tensor.set_data_from_numpy(images)
    if not raw:
        message = tensor._get_tensor()
        tensor._raw_content = None
        message.contents.fp32_contents.extend(images.ravel().tolist())
    return tensor


def describe(client):
    """Health, metadata, configuration, statistics."""
    metadata = client.get_model_metadata(MODEL)
    config = client.get_model_config(MODEL).config
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(MODEL),
        "unknown_ready": client.is_model_ready("no-such-model"),
        "server": client.get_server_metadata().name,
        "extensions": list(client.get_server_metadata().extensions),
        "input": [
            metadata.inputs[0].name,
            metadata.inputs[0].datatype,
            list(metadata.inputs[0].shape),
        ],
        "outputs": [tensor.name for tensor in metadata.outputs],
        "max_batch_size": config.max_batch_size,
        "config_input_type": config.input[0].data_type,
        "config_dims": list(config.input[0].dims),
        "code": config.parameters["code"].string_value,
    }


def infer(client, images):
    """The same images by every way of sending them."""
    as_bytes = (images * 255).round().astype(np.uint8)
    float_input = image_input(sync_client, images, "FP32")
    reply = client.infer(
        MODEL,
        [float_input],
        request_id="seven",
        outputs=[sync_client.InferRequestedOutput(name) for name in ("logits", "source")],
        parameters={"timeout_ms": 5000, "allow_partial": True},
    )
    default = client.infer(MODEL, [float_input])
    typed = client.infer(MODEL, [image_input(sync_client, images, "FP32", raw=False)])
    small = client.infer(MODEL, [image_input(sync_client, as_bytes, "UINT8")])
    return {
        "logits": reply.as_numpy("logits").tolist(),
        "source": reply.as_numpy("source").tolist(),
        "id": reply.get_response().id,
        "responders": reply.get_response().parameters["responders"].string_param,
        "default_outputs": [tensor.name for tensor in default.get_response().outputs],
        "default": default.as_numpy("logits").tolist(),
        "typed": typed.as_numpy("logits").tolist(),
        "uint8": small.as_numpy("logits").tolist(),
    }


def refusals(client, images):
    """What must be refused, and how."""

    def sent(array, datatype="FP32", name="input", model=MODEL, **options):
        return status_of(
            lambda: client.infer(
                model, [image_input(sync_client, array, datatype, name)], **options
            )
        )

    bad_value = images.copy()
    bad_value[1, 0, 3, 3] = np.nan
    return {
        "unknown_model": sent(images, model="no-such-model"),
        "unknown_version": sent(images, model_version="9"),
        "wrong_shape": sent(images[:, :, :4]),
        "wrong_rank": sent(images[0]),
        "wrong_dtype": sent(images.astype(np.int32), "INT32"),
        "wrong_name": sent(images, name="image"),
        "not_finite": sent(bad_value),
        "empty": sent(images[:0]),
        "too_large": sent(np.repeat(images, 4096 // len(images) + 1, axis=0)),
        "unknown_output": sent(images, outputs=[sync_client.InferRequestedOutput("nothing")]),
        "two_inputs": status_of(
            lambda: client.infer(MODEL, [image_input(sync_client, images, "FP32")] * 2)
        ),
        "still_served": sent(images),
    }


async def infer_aio(address, images):
    """The asyncio client, eight requests at once, then a stream of requests."""
    async with aio_client.InferenceServerClient(address) as client:
        tensor = image_input(aio_client, images, "FP32")
        replies = await asyncio.gather(*(client.infer(MODEL, [tensor]) for _ in range(8)))

        async def requests():
            for number in range(5):
                yield {"model_name": MODEL, "inputs": [tensor], "request_id": str(number)}
            yield {"model_name": "no-such-model", "inputs": [tensor], "request_id": "bad"}

        streamed, errors = [], []
        async for result, error in client.stream_infer(requests()):
            if error is None:
                streamed.append(result.get_response().id)
            else:
                errors.append(str(error))
        return {
            "concurrent": [reply.as_numpy("logits").tolist() for reply in replies],
            "streamed": sorted(streamed),
            "stream_errors": errors,
        }


def statistics(client):
    """The counters, now."""
    seen = client.get_inference_statistics(MODEL).model_stats[0]
    return {
        "rows": seen.inference_count,
        "success": seen.inference_stats.success.count,
        "queue_ns": seen.inference_stats.queue.ns,
        "compute_ns": seen.inference_stats.compute_infer.ns,
    }


def main():
    """Run every scenario against ADDRESS."""
    address, path = sys.argv[1:]
    images = np.load(path)
    with sync_client.InferenceServerClient(address) as client:
        before = statistics(client)
        told = {
            "describe": describe(client),
            "infer": infer(client, images),
            "refusals": refusals(client, images),
            "aio": asyncio.run(infer_aio(address, images)),
        }
        told["statistics"] = [before, statistics(client)]
    print(json.dumps(told))


if __name__ == "__main__":
    main()
