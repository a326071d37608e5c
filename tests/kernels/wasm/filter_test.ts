/** Filtered searches on WASM. */
import { createDecoder } from "../../../mod.ts";
import { filterSuite } from "../../suites/filter.ts";

filterSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }), 600, 10_000);
