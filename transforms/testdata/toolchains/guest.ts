// Makes every value upper case, through a table of functions: each of them is
// called by call_indirect.
type Step = (c: u32) => u32;

function same(c: u32): u32 {
  return c;
}

function upper(c: u32): u32 {
  return c - 32;
}

const steps: Step[] = [same, upper];

export function guardlock_alloc(size: u32, align: u32): u32 {
  return (<u32>heap.alloc(size + align) + align - 1) & -align;
}

export function guardlock_transform_v1(frame: usize): i32 {
  const count = load<u32>(frame, 12);
  const arena = load<u32>(frame, 28);
  const capacity = load<u32>(frame, 32);
  let used: u32 = 0;
  for (let n: u32 = 0; n < count; n++) {
    const input = <usize>(load<u32>(frame, 8) + n * 48);
    const output = <usize>(load<u32>(frame, 16) + n * 48);
    memory.copy(output, input, 48);
    const value = load<u32>(input, 24);
    const length = load<u32>(input, 28);
    if (length > capacity - used) return -2;
    for (let i: u32 = 0; i < length; i++) {
      const c = <u32>load<u8>(value + i);
      store<u8>(arena + used + i, steps[i32(c - 97 < 26)](c));
    }
    store<u32>(output, arena + used, 24);
    used += length;
  }
  store<u32>(frame, used, 36);
  return <i32>count;
}
