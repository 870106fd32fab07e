//! What this process uses of its machine. Read from /proc, which takes microseconds; what cannot be read stays as it was.

use std::fs;

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use tokio::runtime::Handle;

use crate::telemetry;

/// A look at the process and at the runtime that this is called on.
pub(super) fn look() {
    let cpu_seconds = u64::try_from(clock_gettime(ClockId::ProcessCPUTime).tv_sec).unwrap_or(0);
    let resident = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes);
    let open_files = fs::read_dir("/proc/self/fd").map(Iterator::count);
    if let (Some(resident), Ok(open_files)) = (resident, open_files) {
        telemetry::process(cpu_seconds, resident, open_files, open_files_max());
    }
    let runtime = Handle::current().metrics();
    telemetry::runtime(runtime.num_alive_tasks(), runtime.global_queue_depth());
}

/// What the kernel lets this process have open; without a limit more than there can be.
fn open_files_max() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The line `VmRSS:   12345 kB`.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t1\n"), Some(2 << 20));
        assert_eq!(resident_bytes("Name:\tx\n"), None);
        let own = fs::read_to_string("/proc/self/status").expect("Linux");
        assert!(resident_bytes(&own).is_some_and(|bytes| bytes > 1 << 20));
    }
}
