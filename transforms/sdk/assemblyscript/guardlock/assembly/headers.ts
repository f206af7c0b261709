import { Bytes, sizeAsText } from "./bytes";

/**
 * The headers of a record, in order, doubled ones too:
 *
 *     const headers = record.headers;
 *     while (headers.next()) if (headers.is("source")) … headers.value …
 *
 * They are Kafka's header block, of which nothing is read where no bytes are there.
 */
@final
export class Headers {
  private end: usize;
  private left: i32;
  private keyAt: usize = 0;
  private keyLength: i32 = 0;
  private valueAt: usize = 0;
  private valueLength: i32 = -1;

  /** @hidden */
  constructor(private at: usize, length: i32, private owner: ArrayBuffer | null) {
    this.end = at + <usize>length;
    this.left = this.varint();
  }

  /** Goes on to the next header, the first at the beginning. */
  next(): bool {
    if (this.left <= 0) return false;
    this.left--;

    this.keyLength = this.varint();
    this.keyAt = this.skip(this.keyLength);
    this.valueLength = this.varint();
    this.valueAt = this.skip(this.valueLength);
    return this.left >= 0 && this.keyLength >= 0;
  }

  /** The name of the header, which a producer chose. */
  get key(): Bytes {
    return new Bytes(this.keyAt, this.keyLength, this.owner);
  }

  /** The value of the header; it can be null. */
  get value(): Bytes | null {
    if (this.valueLength < 0) return null;
    return new Bytes(this.valueAt, this.valueLength, this.owner);
  }

  /** Whether the header has this name. */
  is(name: string): bool {
    return sizeAsText(this.keyAt, this.keyLength, name) == this.keyLength;
  }

  /** Passes a field; behind the end there is nothing more. */
  private skip(length: i32): usize {
    const at = this.at;
    if (length <= 0) return at;
    if (<usize>length > this.end - at) this.left = -1;
    else this.at += <usize>length;
    return at;
  }

  /** Reads Kafka's zigzag varint of at most 32 bits. */
  private varint(): i32 {
    let value: u32 = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      if (this.at >= this.end) break;
      const byte = <u32>load<u8>(this.at++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return <i32>(value >>> 1) ^ -<i32>(value & 1);
    }
    this.left = -1;
    return 0;
  }
}

/** How many bytes a varint takes. */
function varintSize(value: i32): i32 {
  const bits = 32 - clz<u32>(<u32>(value << 1 ^ value >> 31) | 1);
  return (bits + 6) / 7;
}

function putVarint(at: usize, value: i32): usize {
  let rest = <u32>(value << 1 ^ value >> 31);
  while (rest >= 0x80) {
    store<u8>(at++, <u8>(rest | 0x80));
    rest >>>= 7;
  }
  store<u8>(at, <u8>rest);
  return at + 1;
}

function putField(at: usize, from: usize, length: i32): usize {
  at = putVarint(at, length);
  if (length <= 0) return at;
  memory.copy(at, from, <usize>length);
  return at + <usize>length;
}

/**
 * A header block like another, without the headers of a name unless they are kept, and
 * with one more at its end unless that has no place.
 */
export function rewritten(block: Bytes, name: string, keep: bool, add: bool, value: Bytes | null): Bytes {
  const key = Bytes.ofText(name);
  const valueLength = value ? value.length : -1;

  const out = Bytes.ofLength(block.length + key.length + (value ? value.length : 0) + 15);
  const fields = out.at + 5; // the count takes as many bytes at most
  let at = fields;
  let count = 0;
  const headers = new Headers(block.at, block.length, null);
  while (headers.next()) {
    if (!keep && headers.is(name)) continue;
    const key = headers.key;
    const value = headers.value;
    at = putField(at, key.at, key.length);
    at = value ? putField(at, value.at, value.length) : putVarint(at, -1);
    count++;
  }

  if (add) {
    at = putField(at, key.at, key.length);
    at = putField(at, value ? value.at : 0, valueLength);
    count++;
  }
  const start = <i32>(5 - varintSize(count));
  putVarint(out.at + <usize>start, count);
  return out.slice(start, <i32>(at - out.at));
}
