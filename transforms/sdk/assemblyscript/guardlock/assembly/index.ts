/**
 * Write Guardlock transforms in AssemblyScript (guest ABI v1, docs/abi.md).
 *
 * Trust: what the host writes in a frame is believed; every byte of a key, value or
 * header comes from a producer and is not. What is thrown is a trap: the batch fails.
 */
export { Bytes } from "./bytes";
export { Headers } from "./headers";
export { Record } from "./record";
export { Metric, Reason, Verdict, metric, reason } from "./verdict";
export { transform } from "./guest";
