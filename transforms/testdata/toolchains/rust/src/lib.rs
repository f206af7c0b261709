//! Makes every value upper case, through a table of closures: each of them is
//! called by call_indirect, which is what this guest is about.
//! For wasip1 it does without std, whose panics import WASI.
#![cfg_attr(target_os = "wasi", no_std)]

extern crate alloc;

use alloc::alloc::{alloc, Layout};
use alloc::{boxed::Box, vec, vec::Vec};

#[cfg(target_os = "wasi")]
mod bare {
    use core::alloc::{GlobalAlloc, Layout};
    use core::arch::wasm32::{memory_grow, memory_size};
    use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    struct Bump;

    static END: AtomicUsize = AtomicUsize::new(0);

    unsafe impl GlobalAlloc for Bump {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            let page = 1 << 16;
            let start = END.load(Relaxed).max(memory_size::<0>() * page * (END.load(Relaxed) == 0) as usize);
            let at = (start + layout.align() - 1) & !(layout.align() - 1);
            let end = at + layout.size();
            let have = memory_size::<0>() * page;
            if end > have && memory_grow::<0>((end - have + page - 1) / page) == usize::MAX {
                return core::ptr::null_mut();
            }
            END.store(end, Relaxed);
            at as *mut u8
        }
        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }

    #[global_allocator]
    static HEAP: Bump = Bump;

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo) -> ! {
        core::arch::wasm32::unreachable()
    }
}

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
}

#[repr(C)]
#[derive(Clone, Copy)]
pub struct Desc {
    flags: u32,
    source: u32,
    timestamp: u64,
    key: u32,
    key_len: u32,
    value: u32,
    value_len: u32,
    headers: u32,
    headers_len: u32,
    topic: u32,
    status: u32,
}

type Step = Box<dyn Fn(u8) -> u8>;

fn steps() -> Vec<Step> {
    let offset = core::hint::black_box(32u8);
    vec![Box::new(|c| c), Box::new(move |c| c - offset)]
}

#[no_mangle]
pub extern "C" fn guardlock_alloc(size: u32, align: u32) -> u32 {
    match Layout::from_size_align(size as usize, align as usize) {
        Ok(layout) => unsafe { alloc(layout) as u32 },
        Err(_) => 0,
    }
}

#[no_mangle]
pub unsafe extern "C" fn guardlock_transform_v1(frame: *mut Frame) -> i32 {
    let frame = &mut *frame;
    let steps = steps();
    let mut used = 0u32;
    for n in 0..frame.in_count {
        let mut desc = *(frame.in_desc as *const Desc).add(n as usize);
        if desc.value_len > frame.arena_cap - used {
            return -2;
        }
        if desc.value_len == 0 {
            *(frame.out_desc as *mut Desc).add(n as usize) = desc;
            continue;
        }
        let value = core::slice::from_raw_parts(desc.value as *const u8, desc.value_len as usize);
        let out = core::slice::from_raw_parts_mut((frame.arena + used) as *mut u8, value.len());
        for (to, from) in out.iter_mut().zip(value) {
            *to = steps[from.is_ascii_lowercase() as usize](*from);
        }
        desc.value = frame.arena + used;
        used += desc.value_len;
        *(frame.out_desc as *mut Desc).add(n as usize) = desc;
    }
    frame.arena_used = used;
    frame.in_count as i32
}
