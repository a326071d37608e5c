/** The GPU that a command runs a model on. */
import assert from "node:assert/strict";
import { withDevice } from "../../support/gpu.ts";

await withDevice("the GPU of a command", () => {
  Deno.test("A device can be asked for its adapter long after that was found", async () => {
    const device = new URL("../../../src/cli/args/gpu_device.ts", import.meta.url);
    const script = `
      const { device } = await (await import("${device}")).findDevice("webgpu");
      for (let i = 0; i < 5; i++) {
        gc();
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log(typeof device.adapterInfo.vendor);
      device.destroy();`;
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--v8-flags=--expose-gc", script],
    }).output();
    assert.deepEqual([code, new TextDecoder().decode(stdout)], [0, "string\n"]);
  });
});
