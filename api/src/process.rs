//! What the operating system says of this process: memory, open files, threads. Looked up when asked for.
//! And what this process asks of it at the start.

use std::fs;

/// Figures of this process; each is `None` where the system does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Resident memory, bytes.
    pub resident_bytes: Option<u64>,
    /// Address space, bytes.
    pub virtual_bytes: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Open files, sockets among them.
    pub open_files: Option<u64>,
    /// Open files that it may have.
    pub open_files_max: Option<u64>,
}

impl Process {
    /// As it is now.
    #[must_use]
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let kib = |name| number(&status, name).map(|kib| kib << 10);
        Self {
            resident_bytes: kib("VmRSS:"),
            virtual_bytes: kib("VmSize:"),
            threads: number(&status, "Threads:"),
            // The directory that is read is open meanwhile.
            open_files: fs::read_dir("/proc/self/fd")
                .ok()
                .map(|files| (files.count() as u64).saturating_sub(1)),
            open_files_max: fs::read_to_string("/proc/self/limits")
                .ok()
                .and_then(|limits| number(&limits, "Max open files")),
        }
    }
}

/// The first number behind a name at the begin of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// A crash leaves no image of the memory, which holds exchanges' keys. The limit can be raised again from
/// outside (`prlimit --core`), by whoever looks for the reason of one.
///
/// # Errors
/// The system does not let it be lowered.
#[cfg(unix)]
pub fn leave_no_core() -> std::io::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Core);
    // A service manager may have done it, and then forbids such calls.
    if limit.current == Some(0) {
        return Ok(());
    }
    let new = Rlimit {
        current: Some(0),
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Core, new)?)
}

/// A crash leaves what it leaves here.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn leave_no_core() -> std::io::Result<()> {
    Ok(())
}

/// Memory comes in pages of 4 KiB. The allocator asks for those of 2 MiB, which made
/// the process more than twice as large (`docs/decisions/026-huge-pages.md`).
///
/// # Errors
/// The system does not let it be said.
#[cfg(target_os = "linux")]
pub fn use_small_pages() -> std::io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Memory comes as the system gives it.
///
/// # Errors
/// None.
#[cfg(not(target_os = "linux"))]
pub fn use_small_pages() -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_behind_their_names() {
        let text =
            "Name:\tx\nVmRSS:\t  2048 kB\nThreads:\t7\nMax open files   1024   4096   files\n";
        assert_eq!(number(text, "VmRSS:"), Some(2_048));
        assert_eq!(number(text, "Threads:"), Some(7));
        assert_eq!(number(text, "Max open files"), Some(1_024));
        assert_eq!(number(text, "VmSize:"), None);
        assert_eq!(number("Max open files unlimited", "Max open files"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_asked_of_the_system_is_so() {
        use_small_pages().unwrap();
        let status = fs::read_to_string("/proc/self/status").unwrap();
        // Kernels before 6.1 do not tell.
        assert_ne!(number(&status, "THP_enabled:"), Some(1), "{status}");
        leave_no_core().unwrap();
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        assert_eq!(number(&limits, "Max core file size"), Some(0), "{limits}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn threads_and_files_are_counted() {
        let before = Process::now();
        assert!(
            before.resident_bytes > Some(1 << 20) && before.virtual_bytes > before.resident_bytes
        );
        assert!(before.open_files_max >= before.open_files);
        // Other tests of this process open and close files as well, but none so many.
        let files: Vec<_> = (0..200)
            .map(|_| std::fs::File::open("/proc/self/status").unwrap())
            .collect();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let wait = std::sync::Arc::new(std::sync::Mutex::new(wait));
        let threads: Vec<_> = (0..50)
            .map(|_| {
                let wait = wait.clone();
                std::thread::spawn(move || drop(wait.lock().map(|wait| wait.recv())))
            })
            .collect();
        let during = Process::now();
        assert!(during.open_files.unwrap() >= before.open_files.unwrap() + 100);
        assert!(during.threads.unwrap() >= before.threads.unwrap() + 25);
        drop((files, done));
        for thread in threads {
            thread.join().unwrap();
        }
        let after = Process::now();
        assert!(after.open_files.unwrap() < during.open_files.unwrap() - 100);
        assert!(after.threads.unwrap() < during.threads.unwrap() - 25);
    }
}
