import assert from "node:assert/strict";
import { test } from "node:test";
import { compiled } from "guardlock/testing.js";

const transform = await compiled();

test("a card number is masked", () => {
  const out = transform.start().run({ value: "card 4111111111111111, paid" });
  assert.equal(out.outcome, "modified");
  assert.equal(out.reason, "mask.masked");
  assert.equal(String(out.value), "card ************1111, paid");
  assert.deepEqual(out.headers, [{ key: "masked", value: "1" }]);
});

test("other numbers pass", () => {
  const out = transform.start().run({ value: "order 12345678901" });
  assert.equal(out.outcome, "passed");
});

test("a configuration that is no digit is refused", () => {
  assert.throws(() => transform.start({ config: "9" }));
  transform.start({ config: "0" });
});
