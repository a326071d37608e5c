/** nginx: a plain web server, in the ways that plain web servers differ. */
import { missing, onFreePorts, Programs } from "./programs.ts";

/** A running server. `${url}/name` is the file `name` in `root`, with ranges and a strong ETag. */
export interface Nginx extends AsyncDisposable {
  /**
   * Without a slash at its end. The same files stand below
   * - `/gzip/` compressed for whoever accepts that: then ETags are weak, no ranges, no length,
   * - `/gzipped/` compressed even for whoever does not accept that,
   * - `/plain/` without ETag and Last-Modified,
   * - `/slow/` at 10 MB/s for each response,
   * - `/noranges/` whole whatever range is asked for,
   * - `/forbidden/` never: 403.
   */
  readonly url: string;
  /** The folder that is served. */
  readonly root: string;
  /** What nginx has complained of. */
  logs(): Promise<string>;
}

/** Why nginx cannot be started here, if so. */
export function nginxMissing(): Promise<string | undefined> {
  return missing(["nginx"], "nginx-light");
}

/** Starts nginx on a free port. Takes 0.1 s. */
export function startNginx(): Promise<Nginx> {
  return onFreePorts(1, async (port) => {
    const programs = await Programs.open("espalier-nginx-");
    try {
      const { folder } = programs;
      const url = `http://127.0.0.1:${port}`;
      await Deno.mkdir(`${folder}/root`);
      await Deno.writeTextFile(`${folder}/nginx.conf`, configuration(folder, port));
      programs.start("nginx", ["nginx", "-p", folder, "-c", `${folder}/nginx.conf`]);
      // No other server answers at this address, whoever has the port.
      await programs.ready(() => answers(`${url}/ready${folder}`));
      return {
        url,
        root: `${folder}/root`,
        logs: () => programs.logs(),
        [Symbol.asyncDispose]: () => programs[Symbol.asyncDispose](),
      };
    } catch (error) {
      await programs[Symbol.asyncDispose]();
      throw error;
    }
  });
}

async function answers(url: string): Promise<boolean> {
  try {
    const { ok, body } = await fetch(url);
    await body?.cancel();
    return ok;
  } catch {
    return false;
  }
}

/** As root, workers would become another user, who cannot read the folder: hence `user root`. */
const configuration = (folder: string, port: number) => `
daemon off;
user root;
worker_processes 1;
pid "${folder}/nginx.pid";
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  default_type application/octet-stream;
  client_body_temp_path "${folder}/body";
  proxy_temp_path "${folder}/proxy";
  fastcgi_temp_path "${folder}/fastcgi";
  uwsgi_temp_path "${folder}/uwsgi";
  scgi_temp_path "${folder}/scgi";
  open_file_cache off;
  server {
    listen 127.0.0.1:${port};
    location / { root "${folder}/root"; }
    location /gzip/ {
      alias "${folder}/root/";
      gzip on;
      gzip_types *;
      gzip_min_length 0;
      gzip_http_version 1.0;
    }
    location /gzipped/ {
      proxy_pass http://127.0.0.1:${port}/gzip/;
      proxy_http_version 1.1;
      proxy_set_header Accept-Encoding gzip;
    }
    location /plain/ { alias "${folder}/root/"; etag off; add_header Last-Modified ""; }
    location /slow/ { alias "${folder}/root/"; limit_rate 10000000; }
    location /noranges/ { alias "${folder}/root/"; max_ranges 0; }
    location /forbidden/ { return 403; }
    location "/ready${folder}" { return 204; }
  }
}
`;
