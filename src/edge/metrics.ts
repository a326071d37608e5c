/** Counts for Prometheus, in its text format. */

/** Upper bounds of the latency histogram, seconds. */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** How a look at the index has ended. */
export type LoadResult = "loaded" | "unchanged" | "failed";

/** What `/metrics` says beside what is counted here. */
export interface Gauges {
  running: number;
  waiting: number;
  reading: number;
  rejected: number;
  index?: { digest: string; backend: string; size: number; ageMs: number };
}

interface Latency {
  counts: number[];
  sum: number;
}

/** Counts of one handler. */
export class Metrics {
  readonly #requests = new Map<string, number>();
  readonly #latencies = new Map<string, Latency>();
  readonly #loads = { loaded: 0, unchanged: 0, failed: 0 };

  /** A request has been answered. */
  request(route: string, status: number, milliseconds: number): void {
    const labels = `route="${route}",status="${status}"`;
    this.#requests.set(labels, (this.#requests.get(labels) ?? 0) + 1);
    let latency = this.#latencies.get(route);
    if (!latency) {
      latency = { counts: new Array(BUCKETS.length + 1).fill(0), sum: 0 };
      this.#latencies.set(route, latency);
    }
    const seconds = milliseconds / 1000;
    const bucket = BUCKETS.findIndex((bound) => seconds <= bound);
    latency.counts[bucket < 0 ? BUCKETS.length : bucket]++;
    latency.sum += seconds;
  }

  /** The index has been looked at. */
  load(result: LoadResult): void {
    this.#loads[result]++;
  }

  /** Everything in text. */
  text({ running, waiting, reading, rejected, index }: Gauges): string {
    const lines: string[] = [];
    const family = (name: string, type: string, help: string, values: [string, number][]) => {
      lines.push(`# HELP espalier_${name} ${help}`, `# TYPE espalier_${name} ${type}`);
      for (const [suffix, value] of values) lines.push(`espalier_${name}${suffix} ${value}`);
    };
    family(
      "requests_total",
      "counter",
      "Requests answered.",
      [...this.#requests].map(([labels, count]) => [`{${labels}}`, count]),
    );
    family(
      "request_duration_seconds",
      "histogram",
      "Time until the answer.",
      [...this.#latencies].flatMap(([route, latency]) => histogram(route, latency)),
    );
    family("requests_running", "gauge", "Requests that are worked on.", [["", running]]);
    family("queue_depth", "gauge", "Requests that wait for their turn.", [["", waiting]]);
    family("bodies_on_their_way", "gauge", "Requests whose body is coming.", [["", reading]]);
    family("rejected_total", "counter", "Requests sent away because too many waited.", [
      ["", rejected],
    ]);
    family(
      "index_loads_total",
      "counter",
      "Looks at the stored index, by how they ended.",
      Object.entries(this.#loads).map(([result, count]) => [`{result="${result}"}`, count]),
    );
    family("index_ready", "gauge", "Whether an index is there.", [["", index ? 1 : 0]]);
    if (index) {
      const { digest, backend, size, ageMs } = index;
      family("index_info", "gauge", "The index that is served.", [
        [`{digest="${digest}",backend="${backend}"}`, 1],
      ]);
      family("index_sequences", "gauge", "Sequences of the index.", [["", size]]);
      family("index_age_seconds", "gauge", "Time since the index was loaded.", [[
        "",
        ageMs / 1000,
      ]]);
    }
    return lines.join("\n") + "\n";
  }
}

function histogram(route: string, { counts, sum }: Latency): [string, number][] {
  let total = 0;
  const buckets = counts.map((count, i): [string, number] => {
    total += count;
    return [`_bucket{route="${route}",le="${BUCKETS[i] ?? "+Inf"}"}`, total];
  });
  return [...buckets, [`_sum{route="${route}"}`, sum], [`_count{route="${route}"}`, total]];
}
