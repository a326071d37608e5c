/** The answers of several workers as one. */

/** What a worker has answered. */
export interface Part {
  /** Its number, from 1. */
  readonly worker: number;
  readonly response: Response;
}

/** How many workers there are. */
export interface WorkerCounts {
  readonly all: number;
  /** Those that answer. */
  readonly ready: number;
  /** Those that died and were replaced, ever. */
  readonly lost: number;
}

/** `/readyz`: the answer of the first that is ready, else of the first, and how many are. There is one at least. */
export async function readyOf(parts: readonly Part[], counts: WorkerCounts): Promise<Response> {
  const ready = parts.filter(({ response }) => response.ok);
  const [{ response }] = ready.length > 0 ? ready : parts;
  await discard(parts, response);
  const status = await response.json();
  const workers = { all: counts.all, ready: ready.length };
  return new Response(JSON.stringify({ ...status, workers }), response);
}

/** `/metrics`: those of every worker, told apart by the label `worker`. A refusal stands for all. */
export async function metricsOf(parts: readonly Part[], counts: WorkerCounts): Promise<Response> {
  const { response } = parts.find(({ response }) => !response.ok) ?? parts[0];
  if (!response.ok) {
    await discard(parts, response);
    return response;
  }
  /** Lines by what stands before them: the help and type of a family. */
  const families = new Map<string, string[]>();
  for (const { worker, response } of parts) {
    let head = "";
    for (const line of (await response.text()).split("\n")) {
      if (line.startsWith("# HELP ")) head = `${line}\n`;
      else if (line.startsWith("# TYPE ")) families.set(head += line, families.get(head) ?? []);
      else if (line) families.get(head)!.push(labelled(line, worker));
    }
  }
  const own = [
    ["workers", "gauge", "Workers that there should be.", counts.all],
    ["workers_ready", "gauge", "Workers that answer.", counts.ready],
    ["workers_lost_total", "counter", "Workers that died.", counts.lost],
  ];
  const lines = [...families].flatMap(([head, lines]) => [head, ...lines]);
  for (const [name, type, help, value] of own) {
    lines.push(`# HELP espalier_${name} ${help}`, `# TYPE espalier_${name} ${type}`);
    lines.push(`espalier_${name} ${value}`);
  }
  return new Response(`${lines.join("\n")}\n`, response);
}

/** `name{a="b"} 1` or `name 1` with the label of a worker. */
function labelled(line: string, worker: number): string {
  const [, name, labels, value] = /^([^ {]+)(?:\{(.*)\})? (\S+)$/.exec(line)!;
  return `${name}{worker="${worker}"${labels ? `,${labels}` : ""}} ${value}`;
}

async function discard(parts: readonly Part[], kept: Response): Promise<void> {
  for (const { response } of parts) if (response !== kept) await response.body?.cancel();
}
