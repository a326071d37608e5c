/** Where an S3 object is, and how requests for it are signed. */
// deno-lint-ignore no-import-prefix -- the import map does not apply to who imports this by URL
import { AwsClient } from "npm:aws4fetch@1.0.20";
import { checkOptionNames, typeError } from "../../errors.ts";

/** Who asks. */
export interface S3Credentials {
  /** Says who asks. */
  accessKeyId: string;
  /** Signs; is never sent. */
  secretAccessKey: string;
  /** Of temporary credentials. */
  sessionToken?: string;
}

/** Where an object is, and who asks for it. */
export interface S3Location {
  /** Name of the bucket. */
  bucket: string;
  /** Name of the object in it. */
  key: string;
  /** Default: `AWS_REGION` or `AWS_DEFAULT_REGION` of the environment, else `us-east-1`. R2 calls it `auto`. */
  region?: string;
  /** Default: `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` of the environment, else Amazon's for the region. */
  endpoint?: string | URL;
  /** `https://endpoint/bucket/key` or `https://bucket.endpoint/key`. Default: `path` with an endpoint, else `virtual-host`. */
  style?: "path" | "virtual-host";
  /**
   * Default: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the environment. A function is called
   * for every request, so that credentials may expire.
   */
  credentials?: S3Credentials | (() => S3Credentials | Promise<S3Credentials>);
  /** Reads the environment; default the process's, where there is one. */
  env?: (name: string) => string | undefined;
}

const LOCATION_OPTIONS = [
  "bucket",
  "key",
  "region",
  "endpoint",
  "style",
  "credentials",
  "env",
] as const satisfies readonly (keyof S3Location)[];

/** Address of an object, and how to sign requests for it. */
export interface S3Access {
  url: string;
  sign: (url: string, init: RequestInit) => Promise<Request>;
}

/** Resolves defaults. @throws {TypeError} for what makes no address or no credentials. */
export function s3Access(location: S3Location): S3Access {
  checkOptionNames("s3Source", location, LOCATION_OPTIONS);
  const { env = processEnv } = location;
  const region = location.region ?? env("AWS_REGION") ?? env("AWS_DEFAULT_REGION") ?? "us-east-1";
  if (!/^[a-z0-9-]+$/i.test(region)) {
    throw typeError(
      'Cannot address the object: a region is called by letters, digits and "-"; this one has other characters',
    );
  }
  const url = addressOf(location, region, env);
  const credentials = location.credentials ?? environmentCredentials(env);
  const sign = async (address: string, init: RequestInit) => {
    const given = typeof credentials === "function" ? await credentials() : credentials;
    const client = new AwsClient({ ...checked(given), service: "s3", region, retries: 0 });
    try {
      return await client.sign(address, { redirect: "manual", ...init });
    } catch {
      // Whoever refuses a header prints it, and the signature is one.
      throw typeError(
        "Cannot sign the request: one of its headers has line breaks or characters beyond Latin-1",
      );
    }
  };
  if (typeof credentials !== "function") checked(credentials);
  return { url, sign };
}

function addressOf(
  { bucket, key, endpoint, style }: S3Location,
  region: string,
  env: (name: string) => string | undefined,
): string {
  const given = endpoint ?? env("AWS_ENDPOINT_URL_S3") ?? env("AWS_ENDPOINT_URL");
  const base = String(given ?? `https://s3.${region}.amazonaws.com`);
  if (!/^[a-z0-9][a-z0-9._-]*$/i.test(bucket ?? "")) {
    // It may be more than that: some tools take credentials there.
    throw typeError(
      'Cannot address the object: a bucket is called by letters, digits, ".", "_" and "-"; expected one',
    );
  }
  if (!/^https?:/i.test(base) || !URL.canParse(base)) {
    throw typeError(`Cannot address the object: the endpoint is no http: or https: URL`, {
      expected: "https://…",
    });
  }
  const url = new URL(base);
  // The signature stands where a user and password would go; none of this may come to be printed.
  if (url.username || url.password || url.search || url.hash) {
    throw typeError(
      "Cannot address the object: the endpoint has a user, a password, a query or a fragment; expected scheme, host and path, and the credentials apart",
      { expected: "https://…" },
    );
  }
  const isVirtual = (style ?? (given ? "path" : "virtual-host")) === "virtual-host";
  const folder = url.pathname.replace(/\/$/, "");
  const host = `${bucket}.${url.host}`;
  if (isVirtual) url.host = host;
  // IP addresses take no prefix, and hosts no capitals: the address would be another's.
  if (isVirtual && url.host !== host) {
    throw typeError(`Cannot address the object: no host is called "${host}"; use style "path"`, {
      actual: host,
    });
  }
  const path = key?.split("/").map(encode).join("/");
  url.pathname = isVirtual ? `${folder}/${path}` : `${folder}/${bucket}/${path}`;
  // Addresses have no place for "..": it would name another object.
  if (!key || !url.pathname.endsWith(`/${path}`)) {
    throw typeError(`Cannot address the object: no URL has the key "${key ?? ""}"`, {
      actual: key,
    });
  }
  return url.href;
}

/** As S3 wants it in a signature: all but letters, digits and "-._~". */
function encode(text: string): string {
  return encodeURIComponent(text)
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

function environmentCredentials(env: (name: string) => string | undefined): S3Credentials {
  return {
    accessKeyId: env("AWS_ACCESS_KEY_ID") ?? "",
    secretAccessKey: env("AWS_SECRET_ACCESS_KEY") ?? "",
    sessionToken: env("AWS_SESSION_TOKEN"),
  };
}

function checked({ accessKeyId, secretAccessKey, sessionToken }: S3Credentials): S3Credentials {
  // Whoever refuses them as a header would print them.
  if (![accessKeyId, sessionToken ?? ""].every((text) => /^[!-~]*$/.test(text))) {
    throw typeError(
      "Cannot sign requests: accessKeyId or sessionToken has spaces, line breaks or characters beyond ASCII; were they read from a file?",
    );
  }
  if (accessKeyId && secretAccessKey) return { accessKeyId, secretAccessKey, sessionToken };
  throw typeError(
    "Cannot sign requests: expected credentials with accessKeyId and secretAccessKey, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment",
    { expected: ["accessKeyId", "secretAccessKey"] },
  );
}

function processEnv(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Record<string, string | undefined> } };
  try {
    return process?.env?.[name] || undefined;
  } catch {
    return undefined; // it may not be read: as good as unset
  }
}
