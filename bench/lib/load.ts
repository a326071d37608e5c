/** Load on a server: as many clients as wait for their answers, or as many requests as come. */
import { decode } from "./edge_server.ts";

/** What came of it. Times are of answered requests, milliseconds. */
export interface LoadReport {
  /** Requests sent a second. */
  offered: number;
  /** Answers with status 200 a second. */
  answered: number;
  /** Answers with status 503, which came at once. */
  refused: number;
  /** Anything else. */
  failed: number;
  p50: number;
  p99: number;
}

class Tally {
  readonly #start = performance.now();
  readonly #times: number[] = [];
  #sent = 0;
  #lastSentAt = 0;
  #refused = 0;
  #failed = 0;

  /** Sends a request. @returns how long to stay away, milliseconds. */
  async send(url: string, body: string, due = performance.now()): Promise<number> {
    this.#sent++;
    this.#lastSentAt = performance.now();
    try {
      const { status, retryMs } = await decode(url, body);
      if (status === 200) this.#times.push(performance.now() - due);
      else if (status === 503) this.#refused++;
      else this.#failed++;
      return retryMs;
    } catch {
      this.#failed++;
      return 0;
    }
  }

  report(): LoadReport {
    const seconds = (performance.now() - this.#start) / 1000;
    const sending = (this.#lastSentAt - this.#start) / 1000;
    const times = this.#times.sort((a, b) => a - b);
    const at = (share: number) =>
      times[Math.min(times.length - 1, Math.floor(share * times.length))];
    return {
      offered: this.#sent / sending,
      answered: times.length / seconds,
      refused: this.#refused,
      failed: this.#failed,
      p50: at(0.5),
      p99: at(0.99),
    };
  }
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** Clients that each send the next request when the last is answered; who is refused comes back when it was told to. */
export async function closedLoop(
  url: string,
  bodies: readonly string[],
  clients: number,
  seconds: number,
): Promise<LoadReport> {
  const tally = new Tally();
  const end = performance.now() + 1000 * seconds;
  let next = 0;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (performance.now() < end) {
      const retryMs = await tally.send(url, bodies[next++ % bodies.length]);
      await sleep(Math.min(retryMs, Math.max(0, end - performance.now())));
    }
  }));
  return tally.report();
}

/** Requests that come at a steady rate, whatever becomes of those before. Times count from when a request was due. */
export async function openLoop(
  url: string,
  bodies: readonly string[],
  perSecond: number,
  seconds: number,
): Promise<LoadReport> {
  const tally = new Tally();
  const start = performance.now();
  const sent: Promise<unknown>[] = [];
  for (let i = 0; i < perSecond * seconds; i++) {
    const due = start + 1000 * i / perSecond;
    const early = due - performance.now();
    if (early > 1) await sleep(early);
    sent.push(tally.send(url, bodies[i % bodies.length], due));
  }
  await Promise.all(sent);
  return tally.report();
}
