// NAME: masks numbers that may be of payment cards.
//
// Each run of 12 to 19 digits in a value becomes stars, but for its last digits: as
// many as the configuration says, a number from 0 to 8 (default 4). The header
// `masked` then says how many there were. A value with a zero byte is refused, one
// with the header `no-store` is dropped, one whose key begins with `test-` goes to
// the first topic of the grant's routes. A tombstone passes.
//
// It is a beginning: write what your records need, and change `cases/mask.yaml` with it.
import { Bytes, Record, Verdict, reason, transform } from "../guardlock/assembly";

const MASKED = reason("mask.masked");
const BINARY = reason("mask.binary");
const NO_STORE = reason("mask.no_store");
const TEST = reason("mask.test");

const ZERO: u8 = 48;
const STAR: u8 = 42;

let keep = 4;

function configure(config: Bytes): bool {
  if (config.length == 0) return true;
  if (config.length != 1 || config[0] < ZERO || config[0] > ZERO + 8) return false;
  keep = config[0] - ZERO;
  return true;
}

function apply(record: Record): Verdict {
  if (record.hasHeader("no-store")) return Verdict.drop(NO_STORE);
  const value = record.value;
  if (value === null) return Verdict.pass();
  if (value.indexOf(0) >= 0) return Verdict.reject(BINARY);

  const masked = mask(value);
  if (masked > 0) record.setHeader("masked", Bytes.ofText(masked.toString()));
  const key = record.key;
  if (key !== null && key.startsWith("test-")) return Verdict.route(0, TEST);
  return masked > 0 ? Verdict.modify(MASKED) : Verdict.pass();
}

/** Masks the runs of digits in a text, where they lie, and counts them. */
function mask(text: Bytes): i32 {
  let masked = 0;
  for (let start = 0; start < text.length; ) {
    let end = start;
    while (end < text.length && isDigit(text[end])) end++;
    if (end - start >= 12 && end - start <= 19) {
      text.fill(STAR, start, end - keep);
      masked++;
    }
    start = end + 1;
  }
  return masked;
}

function isDigit(byte: u8): bool {
  return byte - ZERO < 10;
}

transform(apply, configure);
