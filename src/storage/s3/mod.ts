/**
 * Objects in S3 and in stores that speak like it (R2, MinIO, Ceph, OpenStack Swift, …): read by
 * `ConstraintIndex.open`, and written whole or not at all.
 *
 * @example
 * ```ts
 * import { ConstraintIndex } from "@espalier/espalier";
 * import { s3Source } from "@espalier/espalier/s3";
 *
 * async function openCatalogue() {
 *   const object = s3Source({ bucket: "indexes", key: "catalogue.safetensors", region: "eu-central-1" });
 *   return await ConstraintIndex.open(object);
 * }
 * ```
 *
 * @module
 */
import { HttpObject } from "../http.ts";
import { s3Access, type S3Location } from "./location.ts";
import type { ByteSource } from "../stored_object.ts";

export type { ByteRange, ByteSource } from "../stored_object.ts";
export type { S3Credentials, S3Location } from "./location.ts";
export { type S3UploadOptions, uploadToS3 } from "./upload.ts";

/**
 * An object to open an index from. Requests are signed with SigV4 (by aws4fetch), each anew; redirects are not followed,
 * because a signature is for one address.
 *
 * @throws {TypeError} if bucket, key, endpoint or credentials are missing or make no address.
 */
export function s3Source(location: S3Location): ByteSource {
  const { url, sign } = s3Access(location);
  return new HttpObject(url, sign);
}
