import { Bytes } from "./bytes";
import { Record } from "./record";
import { Verdict } from "./verdict";

let applyRecord: (record: Record) => Verdict = (record: Record) => Verdict.fail();
let takeConfiguration: (config: Bytes) => bool = (config: Bytes) => config.length == 0;

/**
 * Makes functions the transform of this module: `apply` decides about one record, and
 * may change it. `configure` takes the exact bytes of the approved configuration before
 * any record, and answers whether they are one; without it, none is taken.
 *
 * There are several instances of a module, each in a memory of its own, and one may be
 * thrown away at any time: what it remembers it may forget.
 */
export function transform(apply: (record: Record) => Verdict, configure: ((config: Bytes) => bool) | null = null): void {
  applyRecord = apply;
  if (configure != null) takeConfiguration = configure;
}

/** @hidden */
export function apply(record: Record): Verdict {
  return applyRecord(record);
}

/** @hidden */
export function configure(config: Bytes): bool {
  return takeConfiguration(config);
}
