/** Arrays of NumPy as they are written. */

/** A vector of u32 as a `.npy` file: header, then a view of the values. */
export function encodeNpy(values: Uint32Array<ArrayBuffer>): Uint8Array[] {
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return [npyHeader("<u4", [values.length]), bytes];
}

/** What stands before the values of an array in C order. */
export function npyHeader(dtype: string, shape: readonly number[]): Uint8Array<ArrayBuffer> {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const dictionary = `{'descr': '${dtype}', 'fortran_order': False, 'shape': (${tuple}), }`;
  // The data starts on a multiple of 64 bytes, after a line feed, as NumPy writes it.
  const total = Math.ceil((10 + dictionary.length + 1) / 64) * 64;
  const header = new Uint8Array(total).fill(0x20);
  const text = `\x93NUMPY\x01\x00\x00\x00${dictionary}`;
  for (let i = 0; i < text.length; i++) header[i] = text.charCodeAt(i);
  new DataView(header.buffer).setUint16(8, total - 10, true);
  header[total - 1] = 0x0a;
  return header;
}
