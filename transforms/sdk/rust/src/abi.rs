//! The guest's side of ABI v1. `export!` and `reasons!` use it; nobody else should.
#![allow(missing_docs)]

use alloc::alloc::{alloc, Layout};
use alloc::vec::Vec;
use core::cell::UnsafeCell;

use crate::record::Edits;
use crate::{Reason, Record, Transform, Verdict};

const ERR_INTERNAL: i32 = -1;
const ERR_VERSION: i32 = -4;
const ERR_MALFORMED: i32 = -5;

const KEY_NULL: u32 = 1;
const VALUE_NULL: u32 = 2;
const HEADERS_REPLACED: u32 = 4;

const EDITS: u32 = 8;

const FRAME_SIZE: u32 = 64;
/// In the features, which stand behind the frame of a host that has any.
const FEATURE_EDITS: u32 = 1;

#[repr(C)]
pub struct Frame {
    size: u32,
    flags: u32,
    in_desc: u32,
    in_count: u32,
    out_desc: u32,
    out_cap: u32,
    out_count: u32,
    arena: u32,
    arena_cap: u32,
    arena_used: u32,
    topic: u32,
    partition: i32,
    base_offset_hint: i64,
    err_index: u32,
    err_reason: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    flags: u32,
    source: u32,
    timestamp: i64,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    headers: u32,
    headers_len: u32,
    topic_index: u32,
    status: u32,
}

const _: () = assert!(core::mem::size_of::<Frame>() == 64 && core::mem::size_of::<Descriptor>() == 48);

/// One instance: the transform, and the bytes it made in the last call, which the host
/// reads until the next one.
pub struct Guest<T>(UnsafeCell<Option<Instance<T>>>);

/// What all records of a call have in common.
#[derive(Clone, Copy)]
struct Call {
    topic: u32,
    partition: i32,
    takes_edits: bool,
}

struct Instance<T> {
    transform: T,
    made: Vec<Vec<u8>>,
}

// The host calls one function of an instance at a time, and there are no threads.
unsafe impl<T> Sync for Guest<T> {}

impl<T: Transform> Guest<T> {
    pub const fn new() -> Self {
        Guest(UnsafeCell::new(None))
    }

    /// # Safety
    /// The host calls it once, before any record, with a block of its own.
    pub unsafe fn configure(&self, config: *const u8, len: u32) -> i32 {
        let config = view(config as u32, len);
        match self.instance().transform.configure(config) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    }

    #[allow(clippy::mut_from_ref)] // see Sync
    unsafe fn instance(&self) -> &mut Instance<T> {
        (*self.0.get()).get_or_insert_with(|| Instance { transform: T::default(), made: Vec::new() })
    }

    /// # Safety
    /// The host calls it with a frame that it has filled.
    pub unsafe fn run(&self, frame: *mut Frame) -> i32 {
        let frame = &mut *frame;
        if frame.size < FRAME_SIZE || frame.flags != 0 {
            return ERR_VERSION;
        }
        if frame.out_cap < frame.in_count {
            return ERR_MALFORMED;
        }

        let instance = self.instance();
        instance.made.clear();
        let call = Call {
            topic: frame.topic,
            partition: frame.partition,
            takes_edits: features(frame) & FEATURE_EDITS != 0,
        };
        for n in 0..frame.in_count {
            let given = *(frame.in_desc as usize as *const Descriptor).add(n as usize);
            let Some(decided) = instance.one(given, call) else {
                return ERR_INTERNAL;
            };
            *(frame.out_desc as usize as *mut Descriptor).add(n as usize) = decided;
        }
        frame.in_count as i32
    }
}

impl<T: Transform> Instance<T> {
    /// Decides about one record; `None` when the transform cannot go on.
    unsafe fn one(&mut self, given: Descriptor, call: Call) -> Option<Descriptor> {
        let null = |flag| given.flags & flag != 0;
        let mut record = Record {
            key: (!null(KEY_NULL)).then(|| view(given.key, given.key_len)),
            value: (!null(VALUE_NULL)).then(|| view_mut(given.value, given.value_len)),
            headers: view(given.headers, given.headers_len),
            index: given.source,
            timestamp: given.timestamp,
            topic: call.topic,
            partition: call.partition,
            new_key: None,
            new_value: None,
            new_headers: None,
            edits: Edits::default(),
        };
        let verdict = self.transform.apply(&mut record);
        if !call.takes_edits {
            record.new_value = record.new_value.or_else(|| record.edits.spliced(record.value.as_deref()));
        }
        let (new_key, new_value, new_headers, edits) = (record.new_key, record.new_value, record.new_headers, record.edits);

        let mut out = given;
        out.topic_index = 0;
        out.status = match verdict {
            Verdict::Pass => 0,
            Verdict::Modify(r) => u32::from(r.number()) << 16,
            Verdict::Reject(r) => 1 | u32::from(r.number()) << 16,
            Verdict::Drop(r) => 2 | u32::from(r.number()) << 16,
            Verdict::Route(route, r) => {
                out.topic_index = u32::from(route) + 1;
                3 | u32::from(r.number()) << 16
            }
            Verdict::Fail => return None,
        };

        if let Some(key) = new_key {
            (out.key, out.key_len) = self.keep(&mut out.flags, KEY_NULL, key);
        }
        if let Some(value) = new_value {
            (out.value, out.value_len) = self.keep(&mut out.flags, VALUE_NULL, value);
        } else if !edits.list.is_empty() {
            (out.value, out.value_len) = self.keep_edits(edits);
            out.flags |= EDITS;
        }
        if let Some(headers) = new_headers {
            (out.headers, out.headers_len) = self.keep(&mut out.flags, 0, Some(headers));
            out.flags |= HEADERS_REPLACED;
        }
        Some(out)
    }

    /// Keeps edits until the next call, and says where their list lies.
    fn keep_edits(&mut self, edits: Edits) -> (u32, u32) {
        let bytes = edits.bytes.as_ptr() as usize;
        let mut list = Vec::with_capacity(16 * edits.list.len());
        for (replaced, by) in &edits.list {
            for number in [replaced.start, replaced.len(), bytes + by.start, by.len()] {
                list.extend_from_slice(&(number as u32).to_le_bytes());
            }
        }
        self.made.push(edits.bytes);
        self.keep(&mut 0, 0, Some(list))
    }

    /// Keeps bytes until the next call, and says where they lie.
    fn keep(&mut self, flags: &mut u32, null: u32, bytes: Option<Vec<u8>>) -> (u32, u32) {
        let Some(bytes) = bytes else {
            *flags |= null;
            return (0, 0);
        };
        *flags &= !null;
        let place = if bytes.is_empty() { 0 } else { bytes.as_ptr() as usize as u32 };
        let len = bytes.len() as u32;
        self.made.push(bytes);
        (place, len)
    }
}

/// What the host takes beyond ABI v1 as it began.
unsafe fn features(frame: *const Frame) -> u32 {
    if (*frame).size < FRAME_SIZE + 4 {
        return 0;
    }
    *frame.add(1).cast::<u32>()
}

unsafe fn view<'a>(at: u32, len: u32) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    core::slice::from_raw_parts(at as usize as *const u8, len as usize)
}

unsafe fn view_mut<'a>(at: u32, len: u32) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    core::slice::from_raw_parts_mut(at as usize as *mut u8, len as usize)
}

/// A block for the host, 0 when there is none. It is never freed.
pub fn allocate(size: u32, align: u32) -> u32 {
    match Layout::from_size_align(size.max(1) as usize, align as usize) {
        Ok(layout) => unsafe { alloc(layout) as usize as u32 },
        Err(_) => 0,
    }
}

/// Whether a name may stand in the catalogue of reasons.
pub const fn is_reason(name: &str) -> bool {
    let name = name.as_bytes();
    if name.is_empty() || name.len() > 64 {
        return false;
    }
    let mut n = 0;
    while n < name.len() {
        if !matches!(name[n], b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.') {
            return false;
        }
        n += 1;
    }
    true
}

/// A text as an array.
pub const fn bytes<const N: usize>(text: &str) -> [u8; N] {
    let mut out = [0; N];
    let mut n = 0;
    while n < N {
        out[n] = text.as_bytes()[n];
        n += 1;
    }
    out
}
