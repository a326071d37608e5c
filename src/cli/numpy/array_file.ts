/** An array of NumPy that is written piece by piece. */
/** A file of an archive. */
export interface ArrayFile {
  name: string;
  byteLength: number;
  /** Its bytes, to be read once. */
  chunks: Iterable<Uint8Array<ArrayBuffer>>;
}
