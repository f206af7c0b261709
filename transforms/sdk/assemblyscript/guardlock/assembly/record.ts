import { Bytes } from "./bytes";
import { Edit } from "./edits";
import { Headers, rewritten } from "./headers";

/** One Kafka record. It is stored as it came unless something of it is changed. */
@final
export class Record {
  private keyBytes: Bytes | null = null;
  private valueBytes: Bytes | null = null;
  private headerBlock: Bytes = new Bytes(0, 0);
  private topic: u32 = 0;
  private replacedValue: bool = false;

  /** @hidden Whether there are edits: it is asked for every record, and has no pointer. */
  edited: bool = false;

  /** @hidden */
  edits: Edit[] = [];

  /** @hidden */
  replacedHeaders: bool = false;

  /** The record's place in the call, by which `host.count` knows its time. */
  index: u32 = 0;

  /** Milliseconds since 1970. Setting it changes nothing. */
  timestamp: i64 = 0;

  /** The partition that the record was produced to. */
  partition: i32 = 0;

  /** @hidden */
  begin(key: Bytes | null, value: Bytes | null, headers: Bytes, topic: u32): void {
    this.keyBytes = key;
    this.valueBytes = value;
    this.replacedValue = false;
    this.unedit();
    this.headerBlock = headers;
    this.topic = topic;
    this.replacedHeaders = false;
  }

  /** The key; it can be null. */
  get key(): Bytes | null {
    return this.keyBytes;
  }

  set key(key: Bytes | null) {
    this.keyBytes = key;
  }

  /**
   * The value; null is a tombstone. Its bytes may be changed where they lie, which costs
   * least.
   */
  get value(): Bytes | null {
    return this.valueBytes;
  }

  set value(value: Bytes | null) {
    this.valueBytes = value;
    this.replacedValue = true;
    this.unedit();
  }

  private unedit(): void {
    if (!this.edited) return;
    this.edits = [];
    this.edited = false;
  }

  /**
   * Replaces `length` bytes of the value as it came, from `at` on, by a copy of others. A
   * large value of which little changes costs least so: the rest of it is neither written
   * nor compared. `value` goes on to show it as it came, and what is changed there does
   * not count. It throws where edits do not ascend or overlap, where one is not in the
   * value, and after a new value was set: a change that would be lost might be a mask.
   */
  edit(at: i32, length: i32, bytes: Bytes): void {
    const value = this.valueBytes;
    const edits = this.edits;
    let from = 0;
    if (edits.length > 0) {
      const last = edits[edits.length - 1];
      from = last.at + max(last.length, 1);
    }
    if (value === null || this.replacedValue || at < from || length < 0 || at > value.length - length) {
      throw new Error("edits ascend and do not overlap, in the value as it came");
    }
    this.edited = true;
    edits.push(new Edit(at, length, Bytes.ofArray(bytes.toArray())));
  }

  /** The headers, in order, doubled ones too. */
  get headers(): Headers {
    const block = this.headerBlock;
    return new Headers(block.at, block.length, null);
  }

  /** Whether there is a header of a name. */
  hasHeader(name: string): bool {
    if (this.headerBlock.length <= 1) return false;
    const headers = this.headers;
    while (headers.next()) if (headers.is(name)) return true;
    return false;
  }

  /** The value of the last header of a name; null when it is null, or there is none. */
  header(name: string): Bytes | null {
    let value: Bytes | null = null;
    const headers = this.headers;
    while (headers.next()) if (headers.is(name)) value = headers.value;
    return value;
  }

  /**
   * Sets a header: it is then the last one and the only one of its name, so that a
   * producer cannot forge it. The others keep their order.
   */
  setHeader(name: string, value: Bytes | null): void {
    this.rewrite(name, false, true, value);
  }

  /** Adds a header behind the others. */
  addHeader(name: string, value: Bytes | null): void {
    this.rewrite(name, true, true, value);
  }

  /** Takes every header of a name away. */
  removeHeader(name: string): void {
    if (this.hasHeader(name)) this.rewrite(name, false, false, null);
  }

  /**
   * Whether the record was produced to a topic. The host tells its hash alone, by which
   * topics are told apart and nothing else.
   */
  isOfTopic(name: string): bool {
    return this.topic == fnv1a(Bytes.ofText(name));
  }

  /** @hidden */
  get headersAsTheyAre(): Bytes {
    return this.headerBlock;
  }

  private rewrite(name: string, keep: bool, add: bool, value: Bytes | null): void {
    this.headerBlock = rewritten(this.headerBlock, name, keep, add, value);
    this.replacedHeaders = true;
  }
}

/** The host's number for a topic: 32-bit FNV-1a of its name. */
function fnv1a(name: Bytes): u32 {
  let hash: u32 = 2166136261;
  for (let n = 0; n < name.length; n++) hash = (hash ^ name[n]) * 16777619;
  return hash;
}
