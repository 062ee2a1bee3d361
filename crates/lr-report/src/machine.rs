//! The machine that an experiment ran on, and the process's peak memory.

use serde::{Deserialize, Serialize};

/// A machine in the words of its system; what the system does not tell is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Processor model.
    pub cpu: Option<String>,
    /// Logical cores that the process may use.
    pub cores: usize,
    /// Threads that the experiment used.
    pub threads: usize,
    /// Operating system and architecture.
    pub os: String,
    /// Memory, MB (10^6 bytes).
    pub memory_mb: Option<u64>,
}

impl Machine {
    /// Describes this machine; `threads` is how many the experiment uses.
    pub fn detect(threads: usize) -> Self {
        Self {
            cpu: cpu_model(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads,
            os: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            memory_mb: proc_kilobytes("/proc/meminfo", "MemTotal:")
                .map(|kilobytes| kilobytes * 1024 / 1_000_000),
        }
    }
}

/// Largest resident memory of this process so far, in MB (10^6 bytes); `None` where the system has no
/// `/proc/self/status`.
pub fn peak_rss_mb() -> Option<f64> {
    proc_kilobytes("/proc/self/status", "VmHWM:").map(|kilobytes| kilobytes as f64 * 1024.0 / 1e6)
}

/// The kibibytes that a `/proc` file gives on the line that opens with `key`.
fn proc_kilobytes(path: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(path).ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix(key))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn peak_memory_grows_with_what_is_touched() {
        let before = peak_rss_mb().unwrap();
        assert!(before > 0.5 && before < 1e6);
        let touched = vec![1u8; 200_000_000];
        assert!(touched.iter().map(|&byte| u64::from(byte)).sum::<u64>() == 200_000_000);
        assert!(peak_rss_mb().unwrap() >= 200.0);
    }

    #[test]
    fn the_machine_has_cores_and_a_name() {
        let machine = Machine::detect(7);
        assert!(machine.cores >= 1);
        assert_eq!(machine.threads, 7);
        assert!(machine.os.contains(std::env::consts::ARCH));
    }
}
