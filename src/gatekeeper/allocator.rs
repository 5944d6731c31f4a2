//! The memory allocator: mimalloc.
//!
//! Its crate asks for the alignment of every allocation, which takes a slower way through mimalloc, though nearly all of
//! them need no more than every block has.

#![allow(unsafe_code, reason = "an allocator can't be made otherwise; each function passes on what it was promised")]

use std::alloc::{GlobalAlloc, Layout};

use libc::{c_int, c_long};
use libmimalloc_sys::{
    mi_free, mi_malloc, mi_malloc_aligned, mi_realloc, mi_realloc_aligned, mi_zalloc, mi_zalloc_aligned,
};

/// The memory allocator.
pub struct Allocator;

/// Has the kernel give memory in small pages from now on. The framework's buffers of 64 KiB are mostly empty: in pages of
/// 2 MiB, which mimalloc asks for, all of each takes memory, a websocket three times as much as it needs.
pub fn take_small_pages() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        log::debug!("cannot disable large memory pages: {error}");
    }
}

unsafe extern "C" {
    /// Frees the pages of this thread that hold nothing any more, and those of threads that ended; forced, it gives all free
    /// memory back to the kernel at once.
    safe fn mi_collect(force: bool);
    safe fn mi_option_get(option: c_int) -> c_long;
    safe fn mi_option_set(option: c_int, value: c_long);
}

/// How many milliseconds free pages wait before the kernel gets them back (`mi_option_purge_delay`).
const PURGE_DELAY: c_int = 15;

/// Makes something large. What is freed meanwhile goes back to the kernel at once, and in the end all that is free. By itself
/// mimalloc does that little by little, as memory is asked for, which may be never.
pub fn thriftily<T>(make: impl FnOnce() -> T) -> T {
    let usual = mi_option_get(PURGE_DELAY);
    mi_option_set(PURGE_DELAY, 0);
    let made = make();
    mi_collect(true);
    mi_option_set(PURGE_DELAY, usual);
    made
}

/// Blocks of at least this size are aligned to it, smaller ones to the power of two that fits in them (mimalloc's
/// `MI_MAX_ALIGN_SIZE`).
const ALIGNED: usize = 16;

/// Whether any block of this size will do.
fn is_usual(size: usize, align: usize) -> bool {
    align <= ALIGNED && align <= size
}

// SAFETY: what mimalloc allocates, it frees; sizes and alignments are those asked for or larger.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_usual(size, align) {
            // SAFETY: any size may be asked for.
            unsafe { mi_malloc(size) }.cast()
        } else {
            // SAFETY: a layout's alignment is a power of two.
            unsafe { mi_malloc_aligned(size, align) }.cast()
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        if is_usual(size, align) {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc(size) }.cast()
        } else {
            // SAFETY: as in `alloc`.
            unsafe { mi_zalloc_aligned(size, align) }.cast()
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has it from here.
        unsafe { mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        if is_usual(size, align) {
            // SAFETY: the caller has it from here.
            unsafe { mi_realloc(block.cast(), size) }.cast()
        } else {
            // SAFETY: as above, and a layout's alignment is a power of two.
            unsafe { mi_realloc_aligned(block.cast(), size, align) }.cast()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_as_they_were_asked_for() {
        for size in (1..=4096).chain([10_000, 100_000, 3_000_000]) {
            for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
                let layout = Layout::from_size_align(size, align).unwrap();
                // SAFETY: the layout is not empty, and what is allocated is freed with what it was last made with.
                unsafe {
                    let block = Allocator.alloc(layout);
                    assert_eq!(block.addr() % align, 0, "{size} {align}");
                    block.write_bytes(7, size);
                    let larger = Allocator.realloc(block, layout, size * 2 + 1);
                    assert_eq!(larger.addr() % align, 0, "{size} {align}");
                    assert_eq!((larger.read(), larger.add(size - 1).read()), (7, 7));
                    Allocator.dealloc(larger, Layout::from_size_align(size * 2 + 1, align).unwrap());
                    let zeroed = Allocator.alloc_zeroed(layout);
                    assert_eq!(zeroed.addr() % align, 0, "{size} {align}");
                    assert!(std::slice::from_raw_parts(zeroed, size).iter().all(|byte| *byte == 0));
                    Allocator.dealloc(zeroed, layout);
                }
            }
        }
    }
}
