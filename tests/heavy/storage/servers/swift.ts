/** OpenStack Swift with its S3 API: object storage that checks signatures. */
import { AwsClient } from "aws4fetch";
import { hostFetch } from "./host_fetch.ts";
import { missing, onFreePorts, Programs } from "./programs.ts";

/** A running store, and what a client of S3 must know of it. */
export interface Swift extends AsyncDisposable {
  /** Path style: `${endpoint}/${bucket}/key`. */
  readonly endpoint: string;
  /** Virtual-host style: `${bucketEndpoint}/key`. Not every system resolves `*.localhost`. */
  readonly bucketEndpoint: string;
  /** Sends every request here, whatever the DNS and `--allow-net` say about its host. */
  readonly fetch: typeof globalThis.fetch;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Is there, and is empty. */
  readonly bucket: string;
}

const BUCKET = "espalier";
// Not the region that clients assume when they are told none.
const REGION = "eu-test-1";
const SECRET = "not/a+secret";

/** Why Swift cannot be started here, if so. */
export function swiftMissing(): Promise<string | undefined> {
  return missing(
    ["swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server"]
      .concat("memcached"),
    "python3-swift swift-proxy swift-account swift-container swift-object memcached",
  );
}

/** Starts Swift on free ports, with one user and one bucket. Takes 2 s, longer the first time. */
export async function startSwift(): Promise<Swift> {
  try {
    return await onFreePorts(5, (...ports) => start(ports));
  } catch (error) {
    // Swift keeps what it knows about an object in extended attributes, which not every tmpfs has.
    if (!/no extended attributes/.test(String(error))) throw error;
    return await onFreePorts(5, (...ports) => start(ports, "/var/tmp"));
  }
}

async function start(ports: number[], dir?: string): Promise<Swift> {
  const [port, account, container, object, memcached] = ports;
  const programs = await Programs.open("espalier-swift-", dir);
  try {
    const { folder } = programs;
    const user = await userName();
    const configurations = {
      account: storage(folder, user, "account", account),
      container: storage(folder, user, "container", container),
      object: storage(folder, user, "object", object),
      proxy: proxy(folder, user, port, memcached),
    };
    for (const [name, text] of Object.entries(configurations)) {
      await Deno.writeTextFile(`${folder}/${name}-server.conf`, text);
    }
    programs.start(
      "memcached",
      ["memcached", "-u", user, "-l", "127.0.0.1", "-p", `${memcached}`, "-U", "0", "-m", "16"],
    );
    // Debian's Python, whichever comes first on the path: Swift is installed there.
    programs.start("swift", [
      "/usr/bin/python3",
      new URL("./swift_servers.py", import.meta.url).pathname,
      ...[folder, account, container, object].map(String),
    ]);
    const swift = {
      endpoint: `http://127.0.0.1:${port}`,
      bucketEndpoint: `http://${BUCKET}.localhost:${port}`,
      fetch: (input: RequestInfo | URL, init?: RequestInit) =>
        hostFetch(`http://127.0.0.1:${port}`, new Request(input, init)),
      region: REGION,
      accessKeyId: "test:tester",
      secretAccessKey: SECRET,
      bucket: BUCKET,
      [Symbol.asyncDispose]: () => programs[Symbol.asyncDispose](),
    };
    // Every server has answered once there is a bucket with an object that came and went.
    const client = new AwsClient({ ...swift, service: "s3", retries: 0 });
    const address = `${swift.endpoint}/${BUCKET}`;
    await programs.ready(async () =>
      await succeeds(client, address, "PUT") &&
      await succeeds(client, `${address}/probe`, "PUT", "probe") &&
      await succeeds(client, `${address}/probe`, "DELETE")
    );
    return swift;
  } catch (error) {
    await programs[Symbol.asyncDispose]();
    throw error;
  }
}

async function succeeds(client: AwsClient, url: string, method: string, body?: string) {
  try {
    const response = await client.fetch(url, { method, body });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

/** Servers drop to this user; the default one cannot enter our folder. */
async function userName(): Promise<string> {
  const { stdout } = await new Deno.Command("id", { args: ["-un"] }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** What all servers are told. No workers: each serves in the process that was started. */
const common = (folder: string, user: string, port: number) => `
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
bind_timeout = 1
workers = 0
user = ${user}
swift_dir = ${folder}
log_level = WARNING
`;

const storage = (folder: string, user: string, name: string, port: number) => `
${common(folder, user, port)}
devices = ${folder}/disks
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
[pipeline:main]
pipeline = ${name}-server
[app:${name}-server]
use = egg:swift#${name}
`;

/** Parts of an upload may be of any size, and many small ones are read as fast as few large ones. */
const proxy = (folder: string, user: string, port: number, memcached: number) => `
${common(folder, user, port)}
[pipeline:main]
pipeline = catch_errors proxy-logging cache s3api tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:proxy-logging]
use = egg:swift#proxy_logging
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${memcached}
[filter:s3api]
use = egg:swift#s3api
location = ${REGION}
storage_domain = localhost
min_segment_size = 1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = ${SECRET} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
rate_limit_under_size = 0
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
`;
