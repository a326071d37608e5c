/** The search, on WASM. */
import { createDecoder } from "../../../mod.ts";
import { searchSuite } from "../../suites/search.ts";

searchSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }));
