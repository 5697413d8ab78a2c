//! The GPUs that the machine shows.

/// Their names as `CUDA_VISIBLE_DEVICES` takes them: the driver lists a folder for each.
pub(crate) fn found() -> Vec<String> {
    let count = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.flatten().count());
    (0..count).map(|number| number.to_string()).collect()
}
