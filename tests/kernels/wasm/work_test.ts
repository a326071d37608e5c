/** What saves the model work, on WASM. */
import { createDecoder } from "../../../mod.ts";
import { workSuite } from "../../suites/work.ts";

workSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }), 1500, 6000);
