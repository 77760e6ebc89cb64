//! The memory of a policy: short lists come and go with every question, always of the same few sizes, so what is
//! given back is kept by size and given out again. The general allocator, which joins and splits blocks, took a
//! tenth of a decision among ten deployments; a list of kept blocks takes a few loads and stores.
//!
//! A block's size is the next power of two, from 16 bytes to 32 KiB; larger ones, and those with unusual
//! alignment, are the general allocator's own business. At most 64 KiB of each size are kept, so a policy that
//! once needed much of one size does not lack it for another.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::ptr;

/// Bytes of the smallest block; it must hold the link to the next kept one.
const SMALLEST: usize = 16;
/// Sizes there are: 16 bytes, 32, up to 32 KiB.
const SIZES: usize = 12;
/// Every block is aligned to this, which the general allocator gives anyway.
const ALIGN: usize = 8;
/// Bytes of each size that are kept.
const KEPT: usize = 64 << 10;

/// Keeps what is given back, by size; the rest goes to `A`.
///
/// Not for threads: see [`Sync`] below.
pub(crate) struct Pools<A> {
    general: A,
    sizes: [Pool; SIZES],
}

/// Blocks of one size that nobody uses, each holding a pointer to the next.
struct Pool {
    first: Cell<*mut u8>,
    count: Cell<usize>,
}

impl<A> Pools<A> {
    /// Keeps nothing yet.
    #[must_use]
    pub(crate) const fn new(general: A) -> Self {
        Self { general, sizes: [const { Pool { first: Cell::new(ptr::null_mut()), count: Cell::new(0) } }; SIZES] }
    }
}

/// Which size a block has that serves this request; `None` is for the general allocator.
#[inline]
const fn size_of(layout: &Layout) -> Option<usize> {
    if layout.align() > ALIGN || layout.size() > SMALLEST << (SIZES - 1) {
        return None;
    }
    let above = layout.size().saturating_sub(1) / SMALLEST;
    Some((usize::BITS - above.leading_zeros()) as usize)
}

#[expect(unsafe_code, reason = "an allocator cannot be written without; the trait itself is unsafe")]
#[expect(clippy::cast_ptr_alignment, reason = "a block is aligned to 8, as no pointer exceeds")]
// SAFETY: a block is either in use or in exactly one pool: `alloc` takes it out before it gives it away, and `dealloc`
// puts it in only when the caller has given it back. Its size follows from the layout alone, which the caller must
// repeat, so it returns to the pool (or, by `block`, to the general allocator) with the size and alignment it was
// made with. Nothing in here panics or allocates by other ways.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Pools<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = size_of(&layout) else {
            // SAFETY: the caller's promise, handed on.
            return unsafe { self.general.alloc(layout) };
        };
        let pool = &self.sizes[size];
        let first = pool.first.get();
        if first.is_null() {
            // SAFETY: a block has at least sixteen bytes.
            return unsafe { self.general.alloc(block(size)) };
        }
        // SAFETY: `dealloc` wrote the link when it put this block in, and nobody has had it since.
        pool.first.set(unsafe { first.cast::<*mut u8>().read() });
        pool.count.set(pool.count.get() - 1);
        first
    }

    #[inline]
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        let Some(size) = size_of(&layout) else {
            // SAFETY: the caller's promise, handed on; `alloc` took the same way.
            return unsafe { self.general.dealloc(old, layout) };
        };
        let pool = &self.sizes[size];
        if pool.count.get() >= KEPT / (SMALLEST << size) {
            // SAFETY: `alloc` got it from there with this very layout.
            return unsafe { self.general.dealloc(old, block(size)) };
        }
        // SAFETY: the caller gave the block back; it is aligned to 8 and long enough for a pointer.
        unsafe { old.cast::<*mut u8>().write(pool.first.get()) };
        pool.first.set(old);
        pool.count.set(pool.count.get() + 1);
    }

    #[inline]
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, new: usize) -> *mut u8 {
        // SAFETY: the caller promises a size that makes a layout.
        let wanted = unsafe { Layout::from_size_align_unchecked(new, layout.align()) };
        match (size_of(&layout), size_of(&wanted)) {
            (None, None) => {
                // SAFETY: the caller's promise, handed on.
                unsafe { self.general.realloc(old, layout, new) }
            }
            (before, after) if before == after => old,
            _ => {
                // SAFETY: the caller's promises; old and new block are two, and the shorter length is within both.
                unsafe {
                    let moved = self.alloc(wanted);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(old, moved, layout.size().min(new));
                        self.dealloc(old, layout);
                    }
                    moved
                }
            }
        }
    }
}

/// What the general allocator is asked for.
#[expect(unsafe_code, reason = "both numbers are powers of two far below the limit")]
const fn block(size: usize) -> Layout {
    // SAFETY: see the reason above.
    unsafe { Layout::from_size_align_unchecked(SMALLEST << size, ALIGN) }
}

#[cfg(all(target_arch = "wasm32", not(target_feature = "atomics")))]
mod global {
    use std::alloc::System;

    use super::Pools;

    #[expect(unsafe_code, reason = "a static must be `Sync`")]
    // SAFETY: without the `atomics` feature a module has one thread, and an allocation cannot interrupt another.
    unsafe impl<A> Sync for Pools<A> {}

    #[global_allocator]
    static MEMORY: Pools<System> = Pools::new(System);
}

#[cfg(test)]
mod tests {
    #![expect(unsafe_code, reason = "calls an allocator")]

    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    use super::{KEPT, Pools, size_of};

    /// Counts what is asked of the general allocator, and holds it to the layouts.
    #[derive(Default)]
    struct Counting {
        live: Cell<usize>,
        asked: Cell<usize>,
    }

    // SAFETY: the system's allocator does the work.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.live.set(self.live.get() + layout.size());
            self.asked.set(self.asked.get() + 1);
            // SAFETY: handed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
            self.live.set(self.live.get() - layout.size());
            // SAFETY: handed on.
            unsafe { System.dealloc(old, layout) }
        }
    }

    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 4).unwrap()
    }

    #[test]
    fn sizes_are_the_next_power_of_two() {
        let sizes = [1, 16, 17, 32, 33, 1200, 32 << 10, (32 << 10) + 1].map(|bytes| size_of(&layout(bytes)));
        assert_eq!(sizes, [Some(0), Some(0), Some(1), Some(1), Some(2), Some(7), Some(11), None]);
        assert_eq!(size_of(&Layout::from_size_align(16, 16).unwrap()), None, "unusual alignment");
    }

    #[test]
    fn what_is_given_back_is_given_out_again() {
        let memory = Pools::new(Counting::default());
        for _ in 0..1_000 {
            // SAFETY: each is given back once, with its layout.
            unsafe {
                let blocks = [24, 800, 1_200, 1_200].map(|size| (memory.alloc(layout(size)), layout(size)));
                for (block, layout) in blocks {
                    block.write_bytes(0xAB, layout.size());
                }
                for (block, layout) in blocks {
                    memory.dealloc(block, layout);
                }
            }
        }
        assert_eq!(memory.general.asked.get(), 4, "blocks in use at once, whatever the number of rounds");
    }

    #[test]
    fn a_growing_list_keeps_what_is_in_it() {
        let memory = Pools::new(Counting::default());
        // SAFETY: sizes and layouts follow one another.
        unsafe {
            let mut size = 4;
            let mut list = memory.alloc(layout(size));
            list.write_bytes(7, size);
            for _ in 0..20 {
                list = memory.realloc(list, layout(size), 2 * size);
                assert!((0..size).all(|at| list.add(at).read() == 7));
                list.write_bytes(7, 2 * size);
                size *= 2;
            }
            list = memory.realloc(list, layout(size), 3);
            assert!((0..3).all(|at| list.add(at).read() == 7));
            assert_eq!(list, memory.realloc(list, layout(3), 16), "a block that is large enough stays where it is");
            memory.dealloc(list, layout(16));
        }
        assert!(memory.general.live.get() <= 64 << 10, "one block of each size is kept: {}", memory.general.live.get());
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let memory = Pools::new(Counting::default());
        // SAFETY: each is given back once, with its layout.
        unsafe {
            let blocks: Vec<*mut u8> = (0..10_000).map(|_| memory.alloc(layout(64))).collect();
            for block in blocks {
                memory.dealloc(block, layout(64));
            }
        }
        assert_eq!(memory.general.live.get(), KEPT);
    }
}
