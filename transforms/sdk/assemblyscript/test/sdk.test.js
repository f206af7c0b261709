// Tests of the SDK itself. golden/build.sh runs them in a project whose module is
// testdata/asguest; the same module is tested in the sandbox by as_test.go.
import assert from "node:assert/strict";
import { mkdtemp, mkdir, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { main } from "assemblyscript/asc";
import { compiled } from "guardlock/testing.js";

const guest = await compiled();

test("records go in and come out", () => {
  const headers = [{ key: "a", value: "1" }, { key: "a", value: null }, { key: "é", value: "" }];
  const out = guest.start().run({ key: "k", value: "describe", headers, timestamp: 1700000000123, topic: "orders", partition: 3 });
  assert.equal(String(out.value), 'key k, at 1700000000123, partition 3, orders true, index 0, a="1", a=null, é=""; true, false, null');
  assert.equal(out.outcome, "modified");
  assert.equal(out.reason, "guest.seen");
  assert.deepEqual(out.headers, headers);

  const none = guest.start().run({ value: "null" });
  assert.equal(none.value, null);
  assert.equal(none.key.length, 0);
  assert.equal(guest.start().run({ value: "fail" }).outcome, "failed");
});

test("hashes, logs and metrics work without a host, and a test may bring the rest", () => {
  const instance = guest.start({ host: { guardlock_state: { since: () => 41 } } });
  const run = (value) => instance.run({ value }).value;
  assert.equal(run("sha256 abc").toString("hex"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(run("hmac x").length, 32);
  assert.equal(String(run("unknown-key x")), "error -3");
  assert.equal(String(run("seal x")), "error -5");
  assert.equal(String(run("since")), "41");
  run("log on");
  run("add on");
  assert.deepEqual(instance.logged, [{ level: 2, reason: "guest.seen" }]);
  assert.deepEqual(instance.counted, { "guest.calls": 2 });
});

test("edits are of the value as it came, whatever the host takes", () => {
  for (const edits of [true, false]) {
    const out = guest.start({ edits }).run({ value: "edit abc" });
    assert.equal(String(out.value), "a***c");
    assert.equal(out.outcome, "modified");
    assert.throws(() => guest.start({ edits }).run({ value: "edit-twice" }), /do not overlap/);
  }
});

test("places and rows are what the host writes", () => {
  let memory;
  const find = (text, length, path, pathLength, out, cap) => {
    if (cap < 1000) return -2;
    new Uint32Array(memory.buffer, out, 4).set([1, 2, 4, 1]);
    return 2;
  };
  const instance = guest.start({ host: { guardlock_json: { find } } });
  memory = instance.exports.memory;
  assert.equal(String(instance.run({ value: "find [12,3]" }).value), "2: 1+2 4+1");
  assert.equal(String(guest.start().run({ value: "find [1]" }).value), "error -5");
  assert.equal(String(guest.start().run({ value: "lookup a" }).value), "error -5");
});

test("what is thrown says what it is, and so does a refused configuration", () => {
  assert.throws(() => guest.start().run({ value: "throw over board" }), /over board/);
  assert.throws(() => guest.start({ config: "{}" }), /refused/);
});

const declares = (code) => `import { reason as why } from "../guardlock/assembly";\n${code}\nexport const used = why;`;
for (const [code, said] of [
  ['const a = why("A.b");', /is no name for a reason/],
  ['const a = why("a.b"); const b = why("a.b");', /is declared twice/],
  ['function f(): void { why("a.b"); }\nf();', /a reason is declared as/],
  ['const name = "a.b";\nconst a = why(name);\na;', /a reason is declared as/],
]) {
  test(`no module is made of ${code}`, async () => {
    const dir = await mkdtemp(join(tmpdir(), "guardlock-"));
    await mkdir(join(dir, "assembly"));
    await writeFile(join(dir, "assembly/index.ts"), declares(code));
    for (const there of ["guardlock", "node_modules"]) await symlink(resolve(there), join(dir, there));

    const args = ["assembly/index.ts", "--baseDir", dir, "--config", "none.json", "--transform", "guardlock/catalogue.js", "--outFile", "out.wasm"];
    const { error, stderr } = await main(args);
    assert.match(`${stderr} ${error?.stack}`, said);
  });
}
