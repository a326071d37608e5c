/** The search, on WASM. */
import { createDecoder } from "../mod.ts";
import { searchSuite } from "./support/search_suite.ts";

searchSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }));
