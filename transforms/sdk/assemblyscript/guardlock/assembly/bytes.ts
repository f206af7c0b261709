/**
 * Bytes that lie somewhere in the memory of the module: a field of a record, or what a
 * transform made. What is a record's is there for as long as it is being decided about:
 * copy it (`toText`, `toArray`) to keep it longer.
 */
@final
export class Bytes {
  /** @hidden Use `ofText`, `ofArray` and `ofLength`. */
  constructor(public at: usize, public length: i32, private owner: ArrayBuffer | null = null) {}

  /** So many zero bytes. */
  static ofLength(length: i32): Bytes {
    return Bytes.ofBuffer(new ArrayBuffer(length));
  }

  /** A text in UTF-8. */
  static ofText(text: string): Bytes {
    return Bytes.ofBuffer(String.UTF8.encode(text));
  }

  /** The bytes of an array, which it shares. */
  static ofArray(array: Uint8Array): Bytes {
    return new Bytes(array.dataStart, array.length, array.buffer);
  }

  private static ofBuffer(buffer: ArrayBuffer): Bytes {
    return new Bytes(changetype<usize>(buffer), buffer.byteLength, buffer);
  }

  /** One byte. An index that is out of range is a trap, and the batch fails. */
  @operator("[]")
  @inline
  get(index: i32): u8 {
    if (<u32>index >= <u32>this.length) unreachable();
    return load<u8>(this.at + <usize>index);
  }

  /** Sets one byte where it lies. */
  @operator("[]=")
  @inline
  set(index: i32, value: u8): void {
    if (<u32>index >= <u32>this.length) unreachable();
    store<u8>(this.at + <usize>index, value);
  }

  /** Sets the bytes from `start` up to `end` where they lie. */
  fill(value: u8, start: i32 = 0, end: i32 = this.length): void {
    this.check(start, end);
    memory.fill(this.at + <usize>start, value, <usize>(end - start));
  }

  /** The place of a byte, from `start` on; -1 when it is not there. */
  indexOf(value: u8, start: i32 = 0): i32 {
    this.check(start, this.length);
    const end = this.at + <usize>this.length;
    let at = this.at + <usize>start;
    const wanted = i8x16.splat(<i8>value);
    while (at + 16 <= end && !v128.any_true(i8x16.eq(v128.load(at), wanted))) at += 16;
    while (at < end && load<u8>(at) != value) at++;
    return at < end ? <i32>(at - this.at) : -1;
  }

  /** The same bytes from `start` up to `end`, not a copy of them. */
  slice(start: i32, end: i32 = this.length): Bytes {
    this.check(start, end);
    return new Bytes(this.at + <usize>start, end - start, this.owner);
  }

  /** Whether it is this text, in UTF-8. */
  equals(text: string): bool {
    return <i32>sizeAsText(this.at, this.length, text) == this.length;
  }

  /** Whether it begins with this text, in UTF-8. */
  startsWith(text: string): bool {
    return sizeAsText(this.at, this.length, text) >= 0;
  }

  /** A copy as a text. What is no UTF-8 becomes U+FFFD, as elsewhere. */
  toText(): string {
    return String.UTF8.decodeUnsafe(this.at, <usize>this.length);
  }

  /** A copy as an array. */
  toArray(): Uint8Array {
    const copy = new Uint8Array(this.length);
    memory.copy(copy.dataStart, this.at, <usize>this.length);
    return copy;
  }

  private check(start: i32, end: i32): void {
    if (<u32>start > <u32>end || <u32>end > <u32>this.length) unreachable();
  }
}

/**
 * How many bytes a text is at the beginning of others, -1 when they do not begin with
 * it. Nothing is allocated for a text of ASCII.
 */
export function sizeAsText(at: usize, length: i32, text: string): i32 {
  for (let n = 0; n < text.length; n++) {
    const unit = text.charCodeAt(n);
    if (unit >= 0x80) return sizeAsUnicode(at, length, text);
    if (n >= length || unit != <i32>load<u8>(at + <usize>n)) return -1;
  }
  return text.length;
}

function sizeAsUnicode(at: usize, length: i32, text: string): i32 {
  const encoded = String.UTF8.encode(text);
  const size = encoded.byteLength;
  if (size > length || memory.compare(at, changetype<usize>(encoded), <usize>size) != 0) return -1;
  return size;
}
