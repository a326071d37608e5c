/** Published results, against the oracle and the search on WASM. */
import { createDecoder } from "../../../mod.ts";
import { goldenOracle, goldenSuite } from "../../suites/golden.ts";

goldenOracle();
goldenSuite("WASM", (index) => createDecoder(index, { backend: "wasm" }));
