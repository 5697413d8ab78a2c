//! How much memory the allocator keeps to itself.

/// The C library keeps a pool of free memory for nearly every thread; few threads of ours allocate at a time, and what each once
/// freed would count as ours for ever. With two pools the replay of the demo holds about 30 MB of its own instead of 38 to 53. To be
/// called before threads start.
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code)]
    {
        // SAFETY: `mallopt` sets a number of the allocator; it has no other effect and may be called at any time.
        let done = unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
        debug_assert_eq!(done, 1, "the C library knows this option");
    }
}
