// The guest's side of ABI v1: what the host calls. It is an entry of the compiler beside
// the module's own file, and nobody imports it.
import { Bytes } from "./bytes";
import { listed, spliced } from "./edits";
import { apply, configure } from "./guest";
import { Record } from "./record";
import { FAIL } from "./verdict";

const ERR_INTERNAL: i32 = -1;
const ERR_VERSION: i32 = -4;
const ERR_MALFORMED: i32 = -5;

const KEY_NULL: u32 = 1;
const VALUE_NULL: u32 = 2;
const HEADERS_REPLACED: u32 = 4;
const EDITED: u32 = 8;

/** What lies behind a first frame: what else the host takes. */
const FEATURES_AT: usize = 64;
const TAKES_EDITS: u32 = 1;

@unmanaged
class Frame {
  size: u32;
  flags: u32;
  inDesc: usize;
  inCount: u32;
  outDesc: usize;
  outCap: u32;
  outCount: u32;
  arena: usize;
  arenaCap: u32;
  arenaUsed: u32;
  topic: u32;
  partition: i32;
  baseOffsetHint: i64;
  errIndex: u32;
  errReason: u32;
}

@unmanaged
class Descriptor {
  flags: u32;
  source: u32;
  timestamp: i64;
  key: usize;
  keyLength: i32;
  value: usize;
  valueLength: i32;
  headers: usize;
  headersLength: i32;
  topicIndex: u32;
  status: u32;
}

const PAGE: u32 = 65536;

/** The record at hand, and what of it is the host's: they are the same ones each time. */
const record = new Record();
const key = new Bytes(0, 0);
const value = new Bytes(0, 0);
const headers = new Bytes(0, 0);

/** What the transform made in the last call, which the host reads until the next one. */
let made: Bytes[] = [];

/** A block for the host, 0 when there is none. It is never freed. */
export function guardlock_alloc(size: u32, align: u32): usize {
  if (align > 16) return 0;
  if (size < PAGE) return heap.alloc(size);

  // A large one is taken from behind the heap, where having none is no trap.
  const pages = <i32>(size >>> 16) + i32((size & 0xffff) != 0);
  const before = memory.grow(pages);
  return before < 0 ? 0 : <usize>before << 16;
}

export function guardlock_init_v1(at: usize, length: i32): i32 {
  return configure(new Bytes(at, length)) ? 0 : 1;
}

export function guardlock_transform_v1(frame: Frame): i32 {
  if (frame.size < <u32>offsetof<Frame>() || frame.flags != 0) return ERR_VERSION;
  if (frame.outCap < frame.inCount) return ERR_MALFORMED;

  const takesEdits = frame.size >= <u32>FEATURES_AT + 4 && (load<u32>(changetype<usize>(frame), FEATURES_AT) & TAKES_EDITS) != 0;
  made = [];
  record.partition = frame.partition;
  for (let n: u32 = 0; n < frame.inCount; n++) {
    const at = <usize>n * offsetof<Descriptor>();
    const out = changetype<Descriptor>(frame.outDesc + at);
    memory.copy(changetype<usize>(out), frame.inDesc + at, offsetof<Descriptor>());
    if (!decide(out, frame.topic, takesEdits)) return ERR_INTERNAL;
  }
  return <i32>frame.inCount;
}

/** Decides about one record; false when the transform cannot go on. */
function decide(out: Descriptor, topic: u32, takesEdits: bool): bool {
  place(key, out.key, out.keyLength);
  place(value, out.value, out.valueLength);
  place(headers, out.headers, out.headersLength);
  record.begin(out.flags & KEY_NULL ? null : key, out.flags & VALUE_NULL ? null : value, headers, topic);
  record.index = out.source;
  record.timestamp = out.timestamp;

  const verdict = changetype<usize>(apply(record));
  const kind = <u32>(verdict & 0xff);
  if (kind == <u32>FAIL) return false;
  out.status = kind | <u32>verdict & 0xffff0000;
  out.topicIndex = kind == 3 ? <u32>(verdict >>> 8 & 0xff) + 1 : 0;

  const newKey = record.key;
  const newValue = record.edited && !takesEdits ? whole() : record.value;
  out.flags = (newKey ? 0 : KEY_NULL) | (newValue ? 0 : VALUE_NULL) | (record.replacedHeaders ? HEADERS_REPLACED : 0);
  if (newKey !== key) {
    keep(newKey);
    out.key = newKey ? newKey.at : 0;
    out.keyLength = newKey ? newKey.length : 0;
  }
  if (newValue !== value) {
    keep(newValue);
    out.value = newValue ? newValue.at : 0;
    out.valueLength = newValue ? newValue.length : 0;
  }
  if (record.edited && takesEdits) giveEdits(out);
  if (record.replacedHeaders) {
    const block = record.headersAsTheyAre;
    keep(block);
    out.headers = block.at;
    out.headersLength = block.length;
  }
  return true;
}

/** The record's value with its edits, for a host that takes none. */
function whole(): Bytes | null {
  const value = record.value;
  return value ? spliced(value, record.edits) : null;
}

/** Makes the record's edits its value. */
function giveEdits(out: Descriptor): void {
  const edits = record.edits;
  const list = listed(edits);
  keep(list);
  for (let n = 0; n < edits.length; n++) keep(edits[n].bytes);
  out.flags |= EDITED;
  out.value = list.at;
  out.valueLength = list.length;
}

function place(bytes: Bytes, at: usize, length: i32): void {
  bytes.at = at;
  bytes.length = length;
}

/** Keeps bytes until the next call. */
function keep(bytes: Bytes | null): void {
  if (bytes && bytes.length > 0) made.push(bytes);
}

/** What AssemblyScript calls for what is thrown. The host is told by the trap alone. */
export function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  unreachable();
}
