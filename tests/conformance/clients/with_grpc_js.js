// gRPC for Node.js: another implementation of HTTP/2 and of gRPC than the C core of all the others.
//
// Usage: with_grpc_js.js ADDRESS PLAN.json INFERENCE.proto. Prints one JSON object.
"use strict";

const fs = require("fs");
const path = require("path");
const { createRequire } = require("module");

const [address, planPath, protoPath] = process.argv.slice(2);
const load = createRequire(path.join(process.env.CLIENT_FOLDER, "index.js"));
const grpc = load("@grpc/grpc-js");
const loader = load("@grpc/proto-loader");
const health = load("grpc-health-check");

const options = { keepCase: true, longs: Number, defaults: true, oneofs: true };
const { inference: published } = grpc.loadPackageDefinition(loader.loadSync(protoPath, options));
const Health = grpc.makeGenericClientConstructor(health.service, "Health");
const credentials = grpc.credentials.createInsecure();
const inference = new published.GRPCInferenceService(address, credentials);
const checking = new Health(address, credentials);
const statusName = (code) => Object.keys(grpc.status).find((name) => grpc.status[name] === code);

function call(client, method, request, seconds = 30) {
  const deadline = new Date(Date.now() + 1000 * seconds);
  return new Promise((resolve, reject) => {
    client[method](request, { deadline }, (error, reply) => (error ? reject(error) : resolve(reply)));
  });
}

function contents(given) {
  const data = Buffer.from(given.data, "base64");
  if (given.datatype === "UINT8") return { uint_contents: [...data] };
  const floats = [];
  for (let at = 0; at < data.length; at += 4) floats.push(data.readFloatLE(at));
  return { fp32_contents: floats };
}

function message(request) {
  const parameters = {};
  for (const [name, value] of Object.entries(request.parameters)) {
    if (typeof value === "boolean") parameters[name] = { bool_param: value };
    else if (typeof value === "string") parameters[name] = { string_param: value };
    else parameters[name] = { int64_param: value };
  }
  return {
    model_name: request.model,
    model_version: request.version,
    id: request.id,
    parameters,
    inputs: request.inputs.map((given) => ({
      name: given.name,
      datatype: given.datatype,
      shape: given.shape,
      ...(given.form === "raw" ? {} : { contents: contents(given) }),
    })),
    outputs: request.outputs.map((name) => ({ name })),
    raw_input_contents: request.inputs
      .filter((given) => given.form !== "typed")
      .map((given) => Buffer.from(given.data, "base64")),
  };
}

async function answer(request) {
  try {
    const reply = await call(inference, "ModelInfer", message(request), request.timeout_s);
    return {
      model: reply.model_name,
      version: reply.model_version,
      id: reply.id,
      outputs: reply.outputs.map((item, index) => ({
        name: item.name,
        datatype: item.datatype,
        shape: item.shape,
        data: reply.raw_output_contents[index].toString("base64"),
      })),
    };
  } catch (error) {
    if (error.code === undefined) throw error;
    return { status: statusName(error.code), message: error.details };
  }
}

async function describe() {
  const model = { name: "digits" };
  const server = await call(inference, "ServerMetadata", {});
  const metadata = await call(inference, "ModelMetadata", model);
  const { config } = await call(inference, "ModelConfig", model);
  return {
    live: (await call(inference, "ServerLive", {})).live,
    ready: (await call(inference, "ServerReady", {})).ready,
    model_ready: (await call(inference, "ModelReady", model)).ready,
    unknown_ready: (await call(inference, "ModelReady", { name: "no-such-model" })).ready,
    server: server.name,
    extensions: server.extensions,
    inputs: metadata.inputs.map((item) => [item.name, item.datatype, item.shape]),
    outputs: metadata.outputs.map((item) => item.name),
    max_batch_size: config.max_batch_size,
    dims: config.input[0].dims,
    code: config.parameters.code.string_value,
    health: (await call(checking, "Check", { service: "" })).status,
    model_health: (await call(checking, "Check", { service: "digits" })).status,
    unknown_health: await call(checking, "Check", { service: "no-such-model" }).catch(
      (error) => statusName(error.code),
    ),
  };
}

function stream(requests) {
  return new Promise((resolve, reject) => {
    const ids = [];
    const errors = [];
    const calling = inference.ModelStreamInfer();
    calling.on("data", (reply) => {
      if (reply.error_message) errors.push(reply.error_message);
      else ids.push(reply.infer_response.id);
    });
    calling.on("error", reject);
    calling.on("end", () => resolve({ ids: ids.sort(), errors }));
    for (const request of requests) calling.write(message(request));
    calling.end();
  });
}

async function statistics() {
  const { model_stats: models } = await call(inference, "ModelStatistics", { name: "digits" });
  const { inference_count, inference_stats } = models[0];
  return {
    rows: inference_count,
    success: inference_stats.success.count,
    compute_ns: inference_stats.compute_infer.ns,
  };
}

async function main() {
  const plan = JSON.parse(fs.readFileSync(planPath));
  const told = { statistics: [await statistics()], describe: await describe(), answers: {} };
  for (const [name, request] of Object.entries(plan.requests)) {
    told.answers[name] = await answer(request);
  }
  told.concurrent = await Promise.all(Array.from({ length: 8 }, () => answer(plan.concurrent)));
  told.stream = await stream(plan.stream);
  told.statistics.push(await statistics());
  console.log(JSON.stringify(told));
}

main()
  .catch((error) => {
    console.error(error);
    process.exitCode = 1;
  })
  .finally(() => {  // with no connection left the process ends, once all is printed
    inference.close();
    checking.close();
  });
