// A module that does what the value of a record says, to show that each part of the
// AssemblyScript SDK works in the sandbox.
import { Bytes, Record, Verdict, metric, reason, transform } from "../guardlock/assembly";
import * as host from "../guardlock/assembly/host";

const SEEN = reason("guest.seen");
const CALLS = metric("guest.calls");
const NONE = Bytes.ofLength(0);

/** What earlier records left, to show that it outlives them. */
const remembered = new Map<string, string>();

/** Takes anything but {}. */
function configure(config: Bytes): bool {
  return !config.equals("{}");
}

function apply(record: Record): Verdict {
  const value = record.value;
  if (value === null) return Verdict.pass();
  const space = value.indexOf(32);
  const what = (space < 0 ? value : value.slice(0, space)).toText();
  const given = space < 0 ? NONE : value.slice(space + 1);

  if (what == "fail") return Verdict.fail();
  if (what == "throw") throw new Error(given.toText());
  if (what == "beyond") value[value.length] = 0;
  if (what == "edit" || what == "edit-twice" || what == "replace") return edited(what, record, value, given);
  if (what == "headers") change(record);
  else if (what == "null") record.key = NONE;
  record.value = what == "null" ? null : made(what, given, record);
  return Verdict.modify(SEEN);
}

function made(what: string, given: Bytes, record: Record): Bytes | null {
  if (what == "sha256") return orError(host.sha256(given));
  if (what == "hmac") return orError(host.hmacSha256(1, given));
  if (what == "unknown-key") return orError(host.hmacSha256(100, given));
  if (what == "seal") return orError(opened(given, "field"));
  if (what == "not-opened") return orError(opened(given, "other"));
  if (what == "ff1") return orError(enciphered(given));
  if (what == "small") return orError(host.ff1Encrypt(0, given, host.Alphabet.Digits, "field", NONE));
  if (what == "token") return orError(host.tokenise(0, given, "field"));
  if (what == "compress") return compressed(given);
  if (what == "too-small") return orError(host.gzip(given, 3));
  if (what == "count") return number(host.count(record.index, given, 60_000));
  if (what == "seen") return number(host.seen(record.index, given));
  if (what == "since") return number(host.since(record.index));
  if (what == "find") return found(given);
  if (what == "lookup") return looked(given);
  if (what == "log") host.log(host.Level.Warning, SEEN);
  if (what == "add") host.add(CALLS, 2);
  if (what == "describe") return describe(record);
  if (what == "garbage") return garbage(given);
  if (what == "remember") remembered.set(given.toText(), record.timestamp.toString());
  if (what == "recall") return Bytes.ofText(remembered.has(given.toText()) ? remembered.get(given.toText()) : "nothing");
  return given;
}

/** Edits the value: takes its first word out, or puts null for each member of a name "card". */
function edited(what: string, record: Record, value: Bytes, given: Bytes): Verdict {
  value[0] = 33; // which does not count
  if (what == "replace") {
    const text = value.slice(value.length - given.length);
    const places = host.jsonReplace(text, "$..card", Bytes.ofText("null"));
    record.edit(0, value.length - text.length, NONE);
    if (places) for (let n = 0; n < places.length; n++) record.edit(value.length - text.length + places[n].at, places[n].length, Bytes.ofText("null"));
    return Verdict.modify(SEEN);
  }

  record.edit(0, 5, NONE);
  record.edit(what == "edit" ? 6 : 4, 1, Bytes.ofText("***"));
  record.setHeader("edited", null);
  return Verdict.modify(SEEN);
}

/** Tells where numbers lie. */
function found(text: Bytes): Bytes {
  const places = host.jsonFind(text, "$[*]");
  if (!places) return orError(null);
  let out = `${places.length}:`;
  for (let n = 0; n < min(places.length, 2); n++) out += ` ${places[n].at}+${places[n].length}`;
  return Bytes.ofText(out);
}

function looked(key: Bytes): Bytes {
  const values = host.lookup("places", key, ["country", "city"], 100);
  if (!values) return orError(null);
  let out = "";
  for (let n = 0; n < values.length; n++) {
    const value = values[n];
    out += value ? `[${value.toText()}]` : "null";
  }
  return Bytes.ofText(out);
}

function number(n: i32): Bytes {
  return Bytes.ofText(n.toString());
}

function orError(out: Bytes | null): Bytes {
  return out ? out : Bytes.ofText("error " + (<i32>host.error).toString());
}

function opened(given: Bytes, purpose: string): Bytes | null {
  const sealed = host.seal(0, given, "field");
  return sealed ? host.open(0, sealed, purpose) : null;
}

function enciphered(given: Bytes): Bytes | null {
  const out = host.ff1Encrypt(0, given, host.Alphabet.Digits, "field", NONE);
  if (!out || out.toText() == given.toText()) return null;
  return host.ff1Decrypt(0, out, host.Alphabet.Digits, "field", NONE);
}

/** Whether data is there again after each format. */
function compressed(data: Bytes): Bytes {
  const text = data.toText();
  let same = 0;
  const gzip = host.gzip(data, 1000);
  if (gzip && orError(host.gunzip(gzip, 1000)).equals(text)) same++;
  const zstd = host.zstd(data, 1000);
  if (zstd && orError(host.unzstd(zstd, 1000)).equals(text)) same++;
  const lz4 = host.lz4(data, 1000);
  if (lz4 && orError(host.unlz4(lz4, 1000)).equals(text)) same++;
  const snappy = host.snappy(data, 1000);
  if (snappy && orError(host.unsnappy(snappy, 1000)).equals(text)) same++;
  return number(same);
}

function describe(record: Record): Bytes {
  const key = record.key;
  let text = `key ${key ? key.toText() : "null"}, at ${record.timestamp}, partition ${record.partition}, orders ${record.isOfTopic("orders")}, index ${record.index}`;
  const headers = record.headers;
  while (headers.next()) {
    const value = headers.value;
    text += `, ${headers.key.toText()}=${value ? `"${value.toText()}"` : "null"}`;
  }
  const last = record.header("a");
  return Bytes.ofText(`${text}; ${record.hasHeader("é")}, ${record.hasHeader("none")}, ${last ? "?" : "null"}`);
}

/** Changes headers in each way that there is. */
function change(record: Record): void {
  record.removeHeader("gone");
  record.setHeader("set", Bytes.ofText("now"));
  record.addHeader("kept", null);
}

/** Makes a mebibyte that nobody needs. */
function garbage(data: Bytes): Bytes {
  for (let n = 0; n < 256; n++) Bytes.ofLength(4096).fill(1);
  return data;
}

transform(apply, configure);
