/** A Web Worker that searches with the options that it is sent. */
import { spellerSearch } from "./speller_search.ts";

/** The types of the project are those of the main thread. */
const worker = globalThis as unknown as {
  onmessage: (event: MessageEvent) => Promise<void>;
  postMessage(message: unknown): void;
};

worker.onmessage = async ({ data }) => worker.postMessage(await spellerSearch(data));
