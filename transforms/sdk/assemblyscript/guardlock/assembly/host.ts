/**
 * The host's functions (docs/host-functions.md). Each is an import of its own, of modules
 * that call it alone: such a module must be granted it. A key is the index of one in the
 * grant, whose secret never enters the module.
 *
 * What answers bytes answers null when it fails, and `error` then says why; what answers
 * a number answers an `Error` below zero.
 */
import { Bytes } from "./bytes";
import { Metric, Reason } from "./verdict";

/** Why the host did not do what it was asked. */
export enum Error {
  /** It did. */
  None = 0,
  /** More than 1 MiB of input, or an argument that is out of range. */
  BadArgument = -1,
  /** The output does not fit. */
  TooSmall = -2,
  /** The grant has no key of that index, or no table of that name. */
  UnknownKey = -3,
  /** It failed. */
  Failed = -5,
  /** It was not sealed with this key, for this topic and purpose, or was altered. */
  NotOpened = -6,
  /** The text has fewer than a million values, too few for FF1. */
  SmallDomain = -7,
  /** The table has no such row, or the key was not seen. */
  NotFound = -8,
  /** The table is older than it may be. */
  Stale = -9,
}

/** Why the last function that answered null did not answer bytes. */
export let error: Error = Error.None;

/** How much a log event matters: to who writes the module, who runs it, someone, now. */
export enum Level {
  Debug = 0,
  Info = 1,
  Warning = 2,
  Error = 3,
}

/** The characters that FF1 works on. */
export enum Alphabet {
  /** 0-9 */
  Digits = 10,
  /** 0-9a-f */
  Hex = 16,
  /** a-z */
  Lower = 26,
  /** 0-9a-z */
  LowerAndDigits = 36,
  /** A-Za-z */
  Letters = 52,
  /** 0-9A-Za-z */
  LettersAndDigits = 62,
}

const SUM_BYTES = 32;
const TOKEN_BYTES = 30;
const ENVELOPE_OVERHEAD = 53;
const NO_VALUE: u32 = 0xffffffff;

/** SHA-256. */
export function sha256(data: Bytes): Bytes | null {
  const out = Bytes.ofLength(SUM_BYTES);
  return answered(out, sha256_(data.at, data.length, out.at));
}

/** HMAC-SHA256 under a granted key. */
export function hmacSha256(key: u32, data: Bytes): Bytes | null {
  const out = Bytes.ofLength(SUM_BYTES);
  return answered(out, hmac_sha256_(key, data.at, data.length, out.at));
}

/** Seals data in an envelope, for the record's topic and for a purpose, such as the name of a field. */
export function seal(key: u32, data: Bytes, purpose: string): Bytes | null {
  const out = Bytes.ofLength(data.length + ENVELOPE_OVERHEAD);
  const p = Bytes.ofText(purpose);
  return answered(out, aes_gcm_seal_(key, data.at, data.length, p.at, p.length, out.at, out.length));
}

/** Opens an envelope of the record's topic and of a purpose. */
export function open(key: u32, envelope: Bytes, purpose: string): Bytes | null {
  const out = Bytes.ofLength(envelope.length);
  const p = Bytes.ofText(purpose);
  return answered(out, aes_gcm_open_(key, envelope.at, envelope.length, p.at, p.length, out.at, out.length));
}

/** Encrypts a text by FF1: it keeps its length and its alphabet. */
export function ff1Encrypt(key: u32, text: Bytes, alphabet: Alphabet, purpose: string, tweak: Bytes): Bytes | null {
  const out = Bytes.ofLength(text.length);
  const p = Bytes.ofText(purpose);
  return answered(out, ff1_encrypt_(key, text.at, text.length, alphabet, p.at, p.length, tweak.at, tweak.length, out.at));
}

/** Decrypts what `ff1Encrypt` made with the same key, alphabet, purpose and tweak. */
export function ff1Decrypt(key: u32, text: Bytes, alphabet: Alphabet, purpose: string, tweak: Bytes): Bytes | null {
  const out = Bytes.ofLength(text.length);
  const p = Bytes.ofText(purpose);
  return answered(out, ff1_decrypt_(key, text.at, text.length, alphabet, p.at, p.length, tweak.at, tweak.length, out.at));
}

/** A token that stands for a value: the same for the same key, purpose and value. */
export function tokenise(key: u32, value: Bytes, purpose: string): Bytes | null {
  const out = Bytes.ofLength(TOKEN_BYTES);
  const p = Bytes.ofText(purpose);
  return answered(out, tokenise_(key, value.at, value.length, p.at, p.length, out.at, out.length));
}

/**
 * Finds the row of a key in a table, and returns the values of columns: null where the
 * row has none. All values together have at most so many bytes.
 */
export function lookup(table: string, key: Bytes, columns: string[], most: i32): Array<Bytes | null> | null {
  const t = Bytes.ofText(table);
  const names = Bytes.ofText(columns.join("\n"));
  const out = Bytes.ofLength(most + 4 * columns.length);
  const found = answered(out, lookup_find_(t.at, t.length, key.at, key.length, names.at, names.length, out.at, out.length));
  if (!found) return null;

  const values = new Array<Bytes | null>();
  for (let at = 0; at < found.length; ) {
    const length = load<u32>(found.at + <usize>at);
    at += 4;
    if (length == NO_VALUE) {
      values.push(null);
      continue;
    }
    values.push(found.slice(at, at + <i32>length));
    at += <i32>length;
  }
  return values;
}

/** Where a value lies in a JSON text. */
@final
export class Place {
  constructor(public at: i32, public length: i32) {}
}

/** The places in a JSON text to which a path leads, such as `$.user.mail` or `$..iban`. */
export function jsonFind(text: Bytes, path: string): Place[] | null {
  const p = Bytes.ofText(path);
  let out = Bytes.ofLength(SOME * FOUND_BYTES);
  let n = json_find_(text.at, text.length, p.at, p.length, out.at, out.length);
  while (n == Error.TooSmall) {
    out = Bytes.ofLength(8 * out.length);
    n = json_find_(text.at, text.length, p.at, p.length, out.at, out.length);
  }
  return places(out, n, FOUND_BYTES);
}

/**
 * The places in a JSON text to put a value for, which is JSON itself: what `record.edit`
 * takes, none of them inside of another.
 */
export function jsonReplace(text: Bytes, path: string, value: Bytes): Place[] | null {
  const p = Bytes.ofText(path);
  let out = Bytes.ofLength(SOME * REPLACED_BYTES);
  let n = json_replace_(text.at, text.length, p.at, p.length, value.at, value.length, out.at, out.length);
  while (n == Error.TooSmall) {
    out = Bytes.ofLength(8 * out.length);
    n = json_replace_(text.at, text.length, p.at, p.length, value.at, value.length, out.at, out.length);
  }
  return places(out, n, REPLACED_BYTES);
}

const SOME = 16; // places that there is room for at first
const FOUND_BYTES = 8;
const REPLACED_BYTES = 16;

/** The places at the beginning of so many entries. */
function places(out: Bytes, count: i32, size: i32): Place[] | null {
  error = count < 0 ? <Error>count : Error.None;
  if (count < 0) return null;

  const all = new Array<Place>();
  for (let n = 0; n < count; n++) {
    const entry = out.at + <usize>(n * size);
    all.push(new Place(load<i32>(entry), load<i32>(entry, 4)));
  }
  return all;
}

/**
 * Counts a key at the time of a record (its `index`), and returns how often it came in
 * the window that ends there, this time among them.
 */
export function count(record: u32, key: Bytes, windowMs: u32): i32 {
  return count_(record, key.at, key.length, windowMs);
}

/**
 * How many milliseconds after the last record with this key a record is, `Error.NotFound`
 * for the first. It is the last one then.
 */
export function seen(record: u32, key: Bytes): i32 {
  return seen_(record, key.at, key.length);
}

/** For how many milliseconds before a record the counts are complete: 0 after a restart. */
export function since(record: u32): i32 {
  return since_(record);
}

/** Counts up a metric of the module's catalogue, by 1024 at most. */
export function add(metric: Metric, amount: u32): void {
  add_(<u32>changetype<usize>(metric), amount);
}

/** Logs an entry of the catalogue, never a text: no byte of a record reaches a log. */
export function log(level: Level, reason: Reason): void {
  log_(level, <u32>changetype<usize>(reason));
}

/** Compresses data to a gzip member of at most so many bytes. */
export function gzip(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, gzip_(data.at, data.length, out.at, most));
}

/** Compresses data to a zstd frame of at most so many bytes. */
export function zstd(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, zstd_(data.at, data.length, out.at, most));
}

/** Compresses data to an lz4 frame of at most so many bytes. */
export function lz4(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, lz4_(data.at, data.length, out.at, most));
}

/** Compresses data to a raw snappy block of at most so many bytes. */
export function snappy(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, snappy_(data.at, data.length, out.at, most));
}

/** Decompresses gzip members to at most so many bytes. */
export function gunzip(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, gunzip_(data.at, data.length, out.at, most));
}

/** Decompresses zstd frames to at most so many bytes. */
export function unzstd(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, unzstd_(data.at, data.length, out.at, most));
}

/** Decompresses lz4 frames to at most so many bytes. */
export function unlz4(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, unlz4_(data.at, data.length, out.at, most));
}

/** Decompresses a raw snappy block to at most so many bytes. */
export function unsnappy(data: Bytes, most: i32): Bytes | null {
  const out = Bytes.ofLength(most);
  return answered(out, unsnappy_(data.at, data.length, out.at, most));
}

/** What of a place the host filled. */
function answered(out: Bytes, length: i32): Bytes | null {
  error = length < 0 ? <Error>length : Error.None;
  return length < 0 ? null : out.slice(0, length);
}

@external("guardlock_crypto", "sha256")
declare function sha256_(data: usize, length: u32, out: usize): i32;
@external("guardlock_crypto", "hmac_sha256")
declare function hmac_sha256_(key: u32, data: usize, length: u32, out: usize): i32;
@external("guardlock_crypto", "aes_gcm_seal")
declare function aes_gcm_seal_(key: u32, data: usize, length: u32, purpose: usize, purposeLength: u32, out: usize, cap: u32): i32;
@external("guardlock_crypto", "aes_gcm_open")
declare function aes_gcm_open_(key: u32, data: usize, length: u32, purpose: usize, purposeLength: u32, out: usize, cap: u32): i32;
@external("guardlock_crypto", "ff1_encrypt")
declare function ff1_encrypt_(key: u32, data: usize, length: u32, radix: u32, purpose: usize, purposeLength: u32, tweak: usize, tweakLength: u32, out: usize): i32;
@external("guardlock_crypto", "ff1_decrypt")
declare function ff1_decrypt_(key: u32, data: usize, length: u32, radix: u32, purpose: usize, purposeLength: u32, tweak: usize, tweakLength: u32, out: usize): i32;
@external("guardlock_crypto", "tokenise")
declare function tokenise_(key: u32, data: usize, length: u32, purpose: usize, purposeLength: u32, out: usize, cap: u32): i32;
@external("guardlock_lookup", "find")
declare function lookup_find_(table: usize, tableLength: u32, key: usize, length: u32, columns: usize, columnsLength: u32, out: usize, cap: u32): i32;
@external("guardlock_json", "find")
declare function json_find_(text: usize, length: u32, path: usize, pathLength: u32, out: usize, cap: u32): i32;
@external("guardlock_json", "replace")
declare function json_replace_(text: usize, length: u32, path: usize, pathLength: u32, value: usize, valueLength: u32, out: usize, cap: u32): i32;
@external("guardlock_state", "count")
declare function count_(record: u32, key: usize, length: u32, windowMs: u32): i32;
@external("guardlock_state", "seen")
declare function seen_(record: u32, key: usize, length: u32): i32;
@external("guardlock_state", "since")
declare function since_(record: u32): i32;
@external("guardlock_metric", "add")
declare function add_(metric: u32, amount: u32): void;
@external("guardlock_log", "log")
declare function log_(level: u32, reason: u32): void;
@external("guardlock_compress", "gzip")
declare function gzip_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "zstd")
declare function zstd_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "lz4")
declare function lz4_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "snappy")
declare function snappy_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "gunzip")
declare function gunzip_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "unzstd")
declare function unzstd_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "unlz4")
declare function unlz4_(data: usize, length: u32, out: usize, cap: u32): i32;
@external("guardlock_compress", "unsnappy")
declare function unsnappy_(data: usize, length: u32, out: usize, cap: u32): i32;
