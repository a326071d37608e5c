/** Runs SQL in DuckDB, as a process of its own: MEMORY in bytes, TEMP folder, SQL. */
import { loadDuckDB } from "../../src/cli/tables/duckdb.ts";

const [memory, folder, sql] = Deno.args;
const { DuckDBInstance } = await loadDuckDB();
const instance = await DuckDBInstance.create(":memory:", {
  memory_limit: `${Math.floor(Number(memory) / 1e6)}MB`,
  temp_directory: folder,
  preserve_insertion_order: "false",
});
const connection = await instance.connect();
await connection.run(sql);
connection.closeSync();
instance.closeSync();
