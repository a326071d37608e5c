/** What `deno serve --parallel` runs in each of its threads. Argument: the folder of an index and a model. */
import { createHandler } from "../../src/edge/mod.ts";
import { createOnnxModel } from "../../src/models/onnx/mod.ts";

const [folder] = Deno.args;
const thread = crypto.randomUUID();
const onnx = await createOnnxModel(new URL("decoder.onnx", folder));
const handler = createHandler({
  index: new URL("catalogue.safetensors", folder),
  model: (prompts) => onnx.withPrompts(prompts),
  decoder: { backend: "wasm" },
  search: { vocabSize: onnx.vocabSize },
});

export default {
  async fetch(request: Request): Promise<Response> {
    const response = await handler(request);
    response.headers.set("x-thread", thread);
    return response;
  },
};
