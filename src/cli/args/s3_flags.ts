/** Objects that are called `s3://bucket/key` on the command line. The code that reaches them is loaded when one is. */
import type { S3Location } from "../../storage/s3/location.ts";
import type { S3UploadOptions } from "../../storage/s3/upload.ts";
import type { ByteSource } from "../../storage/stored_object.ts";
import { isS3, shownName } from "../io/addresses.ts";
import { UsageError } from "../errors.ts";

/** Flags that say where a store is. Who asks is told by the environment alone. */
export interface S3Flags {
  endpoint?: string;
  region?: string;
  style?: string;
}

/** The same, for `parseFlags`. */
export const S3_OPTIONS = {
  endpoint: { type: "string" },
  region: { type: "string" },
  style: { type: "string" },
} as const;

/** The same, for the help of a command. */
export const S3_HELP =
  `  --endpoint URL  of a store that is not Amazon's; default $AWS_ENDPOINT_URL_S3 or $AWS_ENDPOINT_URL
  --region NAME   default $AWS_REGION or $AWS_DEFAULT_REGION, else us-east-1
  --style STYLE   path or virtual-host: whether a bucket is in the path or in the host. Default: path where there is
                  an endpoint`;

/** Where credentials come from, for the help of a command. */
export const S3_CREDENTIALS_HELP =
  `For s3:// the environment has the credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for temporary ones,
AWS_SESSION_TOKEN. No flag takes them, and nothing prints them.`;

/** A variable of the environment; undefined if it is unset, empty or not for this process to read. */
export function environment(variable: string): string | undefined {
  const { state } = Deno.permissions.querySync({ name: "env", variable });
  return state === "granted" ? Deno.env.get(variable) || undefined : undefined;
}

/**
 * Where an object is, as flags and environment say.
 *
 * @throws {UsageError} if this is no `s3://bucket/key`, or if flags make no sense.
 */
export function s3Location(argument: string, { endpoint, region, style }: S3Flags): S3Location {
  const [, bucket, key] = argument.match(/^s3:\/\/([^/:@]+)\/(.*[^/])$/is) ?? [];
  // What stands before a ":" or "@" is not shown: some tools take credentials there.
  if (!bucket) {
    const found = `found "${shownName(argument)}"`;
    throw new UsageError(`Expected s3://bucket/key, ${found}; the environment has credentials`);
  }
  if (style !== undefined && style !== "path" && style !== "virtual-host") {
    throw new UsageError(`Expected --style path or virtual-host, found "${style}"`);
  }
  return {
    bucket,
    key,
    region: region ?? environment("AWS_REGION") ?? environment("AWS_DEFAULT_REGION"),
    endpoint: endpoint ?? environment("AWS_ENDPOINT_URL_S3") ?? environment("AWS_ENDPOINT_URL"),
    style,
    env: environment,
  };
}

/** What messages of the library call options, and what they are here. */
const OPTIONS = [
  ["credentials with accessKeyId and secretAccessKey, or ", ""],
  ["accessKeyId or sessionToken", "AWS_ACCESS_KEY_ID or AWS_SESSION_TOKEN"],
  ['style "path"', "--style path"],
];

/** What can be done with an object. */
export interface S3Object {
  /** Address, without secrets. */
  url: string;
  source: ByteSource;
  /** `uploadToS3`, to this object. */
  upload(bytes: ReadableStream<Uint8Array>, options: S3UploadOptions): Promise<void>;
}

/**
 * An object to read or write.
 *
 * @throws {UsageError} if flags and environment make no address or no credentials.
 */
export async function s3Object(location: S3Location): Promise<S3Object> {
  const { s3Access } = await import("../../storage/s3/location.ts");
  const { s3Source, uploadToS3 } = await import("../../storage/s3/mod.ts");
  try {
    return {
      url: s3Access(location).url,
      source: s3Source(location),
      upload: (bytes, options) => uploadToS3(location, bytes, options),
    };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    const message = OPTIONS.reduce(
      (text, [option, here]) => text.replace(option, here),
      error.message,
    );
    throw new UsageError(message, { cause: error });
  }
}

/** Refuses flags that nothing would heed. @throws {UsageError} */
export function checkS3Flags(argument: string, flags: S3Flags): void {
  const name = (["endpoint", "region", "style"] as const).find((name) => flags[name] !== undefined);
  if (name && !isS3(argument)) throw new UsageError(`Expected s3://bucket/key with --${name}`);
}
