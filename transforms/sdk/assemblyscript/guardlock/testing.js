// Tests of a transform under `node --test`: it is compiled, given records, and what
// becomes of them can be looked at. The same in the real sandbox is `guardlock module test`.
//
//     const transform = await compiled();
//     const out = transform.start({ config: "4" }).run({ value: "card 4111111111111111" });
//     assert.equal(out.outcome, "modified");
import { createHash, createHmac } from "node:crypto";
import { main } from "assemblyscript/asc";

const FRAME = 72;
const FIRST_FRAME = 64; // of a host that takes no edits
const DESCRIPTOR = 48;
const NULL_KEY = 1;
const NULL_VALUE = 2;
const EDITED = 8;
const EDIT = 16;
const UNKNOWN_KEY = -3;
const FAILED = -5;
const TEST_KEYS = 4;

/** What becomes of a record, in the words of `cases/*.yaml`. */
const OUTCOMES = ["passed", "rejected", "dropped", "routed"];

/** Compiles the module in the working directory, as asconfig.json says. */
export async function compiled() {
  let file;
  const { error, stderr } = await main(["--target", "test", "--outFile", "test.wasm"], {
    writeFile: (name, content) => {
      file = content;
    },
  });
  if (error) throw new Error(`${stderr}${error.message}`);
  return new Compiled(new WebAssembly.Module(file));
}

class Compiled {
  constructor(module) {
    this.module = module;
    this.reasons = catalogue(module, "guardlock.reasons");
    this.metrics = catalogue(module, "guardlock.metrics");
  }

  /**
   * Starts an instance with a configuration. `host` can hold functions that stand for the
   * host's, by import module and name: { guardlock_state: { since: () => 0 } }.
   * Without edits it is a host of before there were any.
   */
  start({ config = "", host = {}, edits = true } = {}) {
    return new Instance(this, bytes(config), host, edits);
  }
}

class Instance {
  constructor({ module, reasons, metrics }, config, host, edits) {
    this.frameSize = edits ? FRAME : FIRST_FRAME;
    this.reasons = reasons;
    this.metrics = metrics;
    this.logged = [];
    this.counted = {};
    this.exports = new WebAssembly.Instance(module, this.imports(module, host)).exports;

    const at = this.place(config);
    if (this.exports.guardlock_init_v1(at, config.length) !== 0) throw new Error("the configuration is refused");
  }

  /** Gives the transform one record: a key, value and headers of text, bytes or null. */
  run({ key = null, value = null, headers = [], timestamp = 0, topic = "test", partition = 0 }) {
    const block = headerBlock(headers.map((h) => [bytes(h.key), bytes(h.value)]));
    const [k, v] = [bytes(key), bytes(value)];
    const frame = this.alloc(FRAME + 2 * DESCRIPTOR);
    const given = frame + FRAME;
    const decided = given + DESCRIPTOR;

    const places = [k, v, block].flatMap((b) => [b ? this.place(b) : 0, b?.length ?? 0]);
    const put = new DataView(this.exports.memory.buffer);
    [this.frameSize, 0, given, 1, decided, 1, 0, 0, 0, 0, fnv1a(bytes(topic))].forEach((field, n) => put.setUint32(frame + 4 * n, field, true));
    put.setInt32(frame + 44, partition, true);
    put.setUint32(frame + FIRST_FRAME, 1, true);
    put.setUint32(given, (k ? 0 : NULL_KEY) | (v ? 0 : NULL_VALUE), true);
    put.setBigInt64(given + 8, BigInt(timestamp), true);
    places.forEach((field, n) => put.setUint32(given + 16 + 4 * n, field, true));

    const count = this.exports.guardlock_transform_v1(frame);
    if (count !== 1) return { outcome: "failed", code: count };
    return this.read(decided, { k, v, block });
  }

  /** What the transform wrote about a record. */
  read(at, given) {
    const from = new DataView(this.exports.memory.buffer);
    const field = (n) => from.getUint32(at + n, true);
    const copy = (n) => Buffer.from(new Uint8Array(this.exports.memory.buffer, field(n), field(n + 4)));
    const key = field(0) & NULL_KEY ? null : copy(16);
    const said = field(0) & NULL_VALUE ? null : copy(24);
    const value = field(0) & EDITED ? this.spliced(given.v, said) : said;
    const block = copy(32);

    const status = field(44);
    const changed = !same(key, given.k) || !same(value, given.v) || !same(block, given.block);
    const verdict = OUTCOMES[status & 0xff];
    const outcome = verdict === "passed" && changed ? "modified" : verdict;
    const reason = this.reasons[(status >>> 16) - 1] ?? "";
    return { outcome, reason, route: field(40) - 1, key, value, headers: headersOf(block) };
  }

  /** A value with the edits of a list. */
  spliced(value, list) {
    const parts = [];
    let kept = 0;
    for (let at = 0; at < list.length; at += EDIT) {
      const [begin, length, put, putLength] = [0, 4, 8, 12].map((n) => list.readUInt32LE(at + n));
      parts.push(value.subarray(kept, begin), Buffer.from(this.view(put, putLength)));
      kept = begin + length;
    }
    return Buffer.concat([...parts, value.subarray(kept)]);
  }

  alloc(size) {
    const at = this.exports.guardlock_alloc(size, 16);
    if (at === 0) throw new Error("the module has no memory left");
    return at;
  }

  place(content) {
    const at = this.alloc(content.length);
    this.view(at, content.length).set(content);
    return at;
  }

  view(at, length) {
    return new Uint8Array(this.exports.memory.buffer, at, length);
  }

  /**
   * Functions for all that the module imports: the test's own, or the hashes with the keys
   * of `guardlock module test`, a list of what is logged, and a failure for the rest.
   */
  imports(module, host) {
    const sum = (out, hash) => this.view(out, 32).set(hash.digest()) ?? 32;
    const known = {
      env: { abort: (message) => { throw new Error(this.text(message)); } },
      guardlock_crypto: {
        sha256: (at, length, out) => sum(out, createHash("sha256").update(this.view(at, length))),
        hmac_sha256: (key, at, length, out) =>
          key >= TEST_KEYS ? UNKNOWN_KEY : sum(out, createHmac("sha256", testSecret(key)).update(this.view(at, length))),
      },
      guardlock_log: { log: (level, reason) => this.logged.push({ level, reason: this.reasons[reason - 1] }) },
      guardlock_metric: {
        add: (metric, amount) => {
          const name = this.metrics[metric - 1];
          this.counted[name] = (this.counted[name] ?? 0) + amount;
        },
      },
    };

    const all = {};
    for (const { module: from, name } of WebAssembly.Module.imports(module)) {
      all[from] ??= {};
      all[from][name] = host[from]?.[name] ?? known[from]?.[name] ?? (() => FAILED);
    }
    return all;
  }

  /** A text of AssemblyScript, whose length lies before it. */
  text(at) {
    if (at === 0) return "the transform aborted";
    const length = new DataView(this.exports.memory.buffer).getUint32(at - 4, true);
    return Buffer.from(this.view(at, length)).toString("utf16le");
  }
}

/** The secret of a key of `guardlock module test`. */
function testSecret(key) {
  return `guardlock test key ${key}, no secret`;
}

function catalogue(module, section) {
  const [found] = WebAssembly.Module.customSections(module, section);
  return found ? Buffer.from(found).toString().split("\n").filter(Boolean) : [];
}

/** Text, bytes or null as bytes or null. */
function bytes(value) {
  return value === null || value === undefined ? null : Buffer.from(value);
}

function same(a, b) {
  return a === b || (a !== null && b !== null && a.equals(b));
}

/** The host's number for a topic: 32-bit FNV-1a of its name. */
function fnv1a(name) {
  return name.reduce((hash, byte) => Math.imul(hash ^ byte, 16777619) >>> 0, 2166136261);
}

/** Kafka's header block. */
function headerBlock(headers) {
  const field = (b) => (b ? [varint(b.length), b] : [varint(-1)]);
  return Buffer.concat([varint(headers.length), ...headers.flatMap(([key, value]) => [...field(key), ...field(value)])]);
}

function headersOf(block) {
  let at = 0;
  const number = () => {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = block.readUInt8(at++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1);
    }
  };
  const field = () => {
    const length = number();
    if (length < 0) return null;
    at += length;
    return block.subarray(at - length, at).toString();
  };

  return Array.from({ length: number() }, () => ({ key: field(), value: field() }));
}

/** A zigzag varint. */
function varint(value) {
  const out = [];
  let rest = ((value << 1) ^ (value >> 31)) >>> 0;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  return Buffer.from([...out, rest]);
}
