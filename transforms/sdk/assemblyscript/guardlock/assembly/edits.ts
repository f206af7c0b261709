import { Bytes } from "./bytes";

/** Bytes that stand for some of a value. */
@final
export class Edit {
  constructor(public at: i32, public length: i32, public bytes: Bytes) {}
}

const EDIT_BYTES: i32 = 16;

/** The list that the host reads. The edits' bytes must stay where they are until then. */
export function listed(edits: Edit[]): Bytes {
  const list = Bytes.ofLength(EDIT_BYTES * edits.length);
  for (let n = 0; n < edits.length; n++) {
    const edit = edits[n];
    const at = list.at + <usize>(EDIT_BYTES * n);
    store<u32>(at, edit.at);
    store<u32>(at, edit.length, 4);
    store<u32>(at, <u32>edit.bytes.at, 8);
    store<u32>(at, edit.bytes.length, 12);
  }
  return list;
}

/** What edits make of a value. */
export function spliced(value: Bytes, edits: Edit[]): Bytes {
  let length = value.length;
  for (let n = 0; n < edits.length; n++) length += edits[n].bytes.length - edits[n].length;

  const out = Bytes.ofLength(length);
  let to = out.at;
  let kept = 0;
  for (let n = 0; n < edits.length; n++) {
    const edit = edits[n];
    const before = <usize>(edit.at - kept);
    memory.copy(to, value.at + <usize>kept, before);
    memory.copy(to + before, edit.bytes.at, <usize>edit.bytes.length);
    to += before + <usize>edit.bytes.length;
    kept = edit.at + edit.length;
  }
  memory.copy(to, value.at + <usize>kept, <usize>(value.length - kept));
  return out;
}
