//! What the system knows of this process, under the names that Prometheus' clients share. Read from `/proc`, where there is
//! one; elsewhere nothing is shown.

use std::fs;

use super::Families;

/// `USER_HZ`, in which Linux tells processes their times on every architecture that Rust's standard library supports there.
const TICKS: f64 = 100.0;

pub(super) fn add(families: &mut Families) {
    if let Some(seconds) = cpu_seconds() {
        let help = "Seconds that processors have worked for this process";
        families.counters("process_cpu_seconds_total", help, [], [([], seconds)]);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(bytes) = kilobytes(&status, "VmRSS:") {
        families.gauge("process_resident_memory_bytes", "Bytes of memory that this process holds", bytes);
    }
    if let Some(threads) = field(&status, "Threads:") {
        families.gauge("process_threads", "Threads of this process", threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The listing itself holds one.
        let open = u32::try_from(open.count().saturating_sub(1)).map_or(f64::INFINITY, f64::from);
        families.gauge("process_open_fds", "Open file descriptors of this process", open);
    }
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = field(&limits, "Max open files") {
        families.gauge("process_max_fds", "File descriptors that this process may open", most);
    }
}

/// User and system time: the 14th and 15th field, counted behind the name, which may hold anything.
fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let mut fields = after.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// The number behind a line's name.
fn field(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

fn kilobytes(text: &str, name: &str) -> Option<f64> {
    field(text, name).map(|kilobytes| kilobytes * 1_024.0)
}
