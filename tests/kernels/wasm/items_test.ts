/** Items of shared sequences, on WASM. */
import { createDecoder } from "../../../mod.ts";
import { itemSuite } from "../../suites/items.ts";

itemSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }), 300, 10_000);
