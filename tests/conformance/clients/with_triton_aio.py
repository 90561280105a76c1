"""Triton's own client, on asyncio."""

import tritonclient.grpc.aio as triton
from speaking import speak
from tritonclient.utils import InferenceServerException
from with_triton import MODEL, answer_of, arguments, counters, description, refusal_of


class TritonAio:
    """`tritonclient.grpc.aio.InferenceServerClient`."""

    def __init__(self, address):
        self.client = triton.InferenceServerClient(address)
        self.close = self.client.close

    async def describe(self):
        """Health, metadata, configuration."""
        client = self.client
        return description(
            await client.is_server_live(),
            await client.is_server_ready(),
            await client.is_model_ready(MODEL),
            await client.is_model_ready("no-such-model"),
            await client.get_server_metadata(),
            await client.get_model_metadata(MODEL),
            (await client.get_model_config(MODEL)).config,
        )

    async def infer(self, request):
        """One request."""
        try:
            result = await self.client.infer(
                **arguments(triton, request), client_timeout=request["timeout_s"]
            )
        except InferenceServerException as error:
            raise refusal_of(error) from error
        return answer_of(result)

    async def stream(self, requests):
        """All of them over one stream, answered as they come."""

        async def asked():
            for request in requests:
                yield arguments(triton, request)

        ids, errors = [], []
        async for result, error in self.client.stream_infer(asked()):
            if error is None:
                ids.append(result.get_response().id)
            else:
                errors.append(str(error))
        return {"ids": sorted(ids), "errors": errors}

    async def statistics(self):
        """The counters, now."""
        return counters((await self.client.get_inference_statistics(MODEL)).model_stats[0])


if __name__ == "__main__":
    speak(TritonAio, {"typed", "nan", "stream", "statistics"})
