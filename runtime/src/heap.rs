//! The heap of this process, where it is the C library's.
//!
//! Owns: the one setting that long-lived processes of ours change. glibc gives each thread an arena of its own, and an arena that is not the
//! first grows by single pages, with a system call for each: ten thousand tasks that come at once cost seven of them each, all in the
//! way of the page faults of the process's other threads. One arena grows by 128 KiB, keeps what is freed in one place, and is met by few
//! threads: each has a cache of its own before it. Never: replaces the allocator.

#![allow(unsafe_code)]

/// Call it before the first thread.
pub fn one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and nothing else runs yet.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
    #[cfg(target_env = "gnu")]
    if set == 0 {
        tracing::debug!("the heap keeps an arena for each thread");
    }
}
