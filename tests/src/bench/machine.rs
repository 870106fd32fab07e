//! What processes use of the machine, from /proc.

use std::{collections::BTreeMap, fs};

use serde::Serialize;

/// Processes by the part they play; several may play one.
pub type Parts = Vec<(&'static str, u32)>;

/// Processor time at one moment.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    cpu_us: BTreeMap<&'static str, u64>,
    written_bytes: BTreeMap<&'static str, u64>,
    busy_us: u64,
}

/// What was used between two moments.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Used {
    /// Processor time by part, microseconds.
    pub cpu_us: BTreeMap<&'static str, u64>,
    /// Bytes sent to the disk by part.
    pub written_bytes: BTreeMap<&'static str, u64>,
    /// Processor time of everything else on the machine, the kernel's own included.
    pub others_us: u64,
}

impl Usage {
    /// Now.
    pub fn now(parts: &Parts) -> Self {
        let mut own = Self { busy_us: busy_us(), ..Self::default() };
        for (part, process) in parts {
            *own.cpu_us.entry(part).or_default() += cpu_us(*process);
            *own.written_bytes.entry(part).or_default() += written_bytes(*process);
        }
        own
    }

    /// From `earlier` until this moment.
    pub fn since(&self, earlier: &Self) -> Used {
        let less = |now: &BTreeMap<&'static str, u64>, then: &BTreeMap<&'static str, u64>| {
            now.iter().map(|(part, now)| (*part, now - then.get(part).unwrap_or(&0).min(now))).collect()
        };
        let cpu_us: BTreeMap<_, u64> = less(&self.cpu_us, &earlier.cpu_us);
        let busy_us = self.busy_us.saturating_sub(earlier.busy_us);
        Used {
            others_us: busy_us.saturating_sub(cpu_us.values().sum()),
            written_bytes: less(&self.written_bytes, &earlier.written_bytes),
            cpu_us,
        }
    }
}

/// Memory of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Memory {
    /// In memory now.
    pub resident: u64,
    /// Of it, its own: neither files nor shared.
    pub anonymous: u64,
    /// Most that was ever resident.
    pub peak: u64,
}

/// Memory of a process; nothing where it is gone.
pub fn memory(process: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() * 1024
    };
    Memory { resident: bytes("VmRSS"), anonymous: bytes("RssAnon"), peak: bytes("VmHWM") }
}

/// Children of this process whose command line has `word` as its first argument.
pub fn children(word: &str) -> Vec<u32> {
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    numbers
        .filter(|process| {
            let parent = stat(*process).get(1).and_then(|field| field.parse::<u32>().ok());
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            parent == Some(own) && line.split(|byte| *byte == 0).nth(1) == Some(word.as_bytes())
        })
        .collect()
}

/// Mean number of tasks that ran or wanted to, over one minute.
pub fn load_average() -> f64 {
    let line = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    line.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_default()
}

fn cpu_us(process: u32) -> u64 {
    let fields = stat(process);
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    (ticks(11) + ticks(12)) * TICK_US
}

/// Fields of /proc/<process>/stat from the third on: names may hold blanks.
fn stat(process: u32) -> Vec<String> {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = line.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default();
    fields.split_whitespace().map(str::to_owned).collect()
}

fn written_bytes(process: u32) -> u64 {
    let lines = fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let written = lines.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    written.and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

/// Everything but idling and waiting for disks.
fn busy_us() -> u64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1);
    let ticks = ticks.filter_map(|field| field.parse::<u64>().ok()).take(8).enumerate();
    ticks.filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| ticks).sum::<u64>() * TICK_US
}

/// /proc counts hundredths of a second on every Linux.
const TICK_US: u64 = 10_000;
