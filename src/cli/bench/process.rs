//! What processes cost: CPU time and memory, as Linux counts them in /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use serde::Serialize;

/// CPU time since a process began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    pub(super) user: Duration,
    pub(super) system: Duration,
}

impl Cpu {
    pub(super) fn total(self) -> Duration {
        self.user + self.system
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
        }
    }
}

/// MemoryUse in bytes: resident now, and at its most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct MemoryUse {
    pub(super) now: u64,
    pub(super) peak: u64,
}

/// This process.
pub(super) fn own() -> Option<Cpu> {
    fs::read_to_string("/proc/self/stat").ok().and_then(|text| stat(&text)).map(|stat| stat.cpu)
}

/// What all processors have done since the machine began, whatever for. `None`: this is no Linux.
pub(super) fn machine() -> Option<Duration> {
    fs::read_to_string("/proc/stat").ok().and_then(|text| busy(&text))
}

/// Of the first line of proc_stat(5): all but idling and waiting for disks.
fn busy(text: &str) -> Option<Duration> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let busy = [0, 1, 2, 5, 6, 7].into_iter().filter_map(|at| ticks.get(at)).sum::<u64>();
    Some(Duration::from_millis(busy * 1000 / u64::from(TICKS)))
}

/// A process and those it started. `None`: it is not there (any more), or this is no Linux.
pub(super) fn tree(root: u32) -> Option<(Cpu, MemoryUse)> {
    let mut processes = HashMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(id) = id else { continue };
        let text = fs::read_to_string(entry.path().join("stat")).ok();
        if let Some(stat) = text.and_then(|text| stat(&text)) {
            processes.insert(id, stat);
        }
    }
    processes.get(&root)?;
    let descends = |mut id: u32| {
        // A chain of parents is short, and a loop in it would be the kernel's.
        for _ in 0..64 {
            if id == root {
                return true;
            }
            match processes.get(&id) {
                Some(stat) if stat.parent != 0 => id = stat.parent,
                _ => return false,
            }
        }
        false
    };
    let (mut cpu, mut memory) = (Cpu::default(), MemoryUse::default());
    for (id, stat) in processes.iter().filter(|(id, _)| descends(**id)) {
        cpu.user += stat.cpu.user;
        cpu.system += stat.cpu.system;
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        memory.now += kilobytes(&status, "VmRSS:") << 10;
        memory.peak += kilobytes(&status, "VmHWM:") << 10;
    }
    Some((cpu, memory))
}

struct Stat {
    parent: u32,
    cpu: Cpu,
}

/// Of proc_pid_stat(5). The program's name is in parentheses and may hold anything.
fn stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    let ticks = |at: usize| {
        let ticks: u32 = fields.get(at)?.parse().ok()?;
        Some(Duration::from_secs(1) / TICKS * ticks)
    };
    // Fields 4, 14 and 15 of the file; the first here is its third.
    let parent = fields.get(1)?.parse().ok()?;
    Some(Stat { parent, cpu: Cpu { user: ticks(11)?, system: ticks(12)? } })
}

fn kilobytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

/// Clock ticks a second (`USER_HZ`), the same on every architecture that Rust knows Linux on.
const TICKS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let line = "7 (a) b) c) S 3 7 7 0 -1 4 1 0 0 0 250 50 9 9 20 0 1 0 1 1 1";
        let found = stat(line).unwrap();
        assert_eq!(found.parent, 3);
        let expected =
            Cpu { user: Duration::from_millis(2500), system: Duration::from_millis(500) };
        assert_eq!((found.cpu, found.cpu.total()), (expected, Duration::from_secs(3)));
        assert!(stat("7 (a S 3").is_none());
        let stat = "cpu  100 20 3 9999 8888 400 50 6 0 0\ncpu0 1\n";
        assert_eq!(busy(stat), Some(Duration::from_millis(5790)));
        assert!(busy("intr 1").is_none());
        assert_eq!(kilobytes("VmHWM:\t  1234 kB\nVmRSS:\t 12 kB\n", "VmRSS:"), 12);
    }

    #[test]
    fn finds_itself() {
        let (cpu, memory) = tree(std::process::id()).unwrap();
        assert!(memory.now > 0 && memory.peak >= memory.now / 2);
        assert!(own().unwrap().total() >= cpu.since(cpu).total());
        assert!(tree(u32::MAX).is_none());
    }
}
