//! What the kernel counts about the machine and its processes.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;

/// CPU time of the machine, in ticks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MachineTicks {
    /// Time in which something ran, here or in another guest that took our turn.
    pub(crate) busy: u64,
    /// All of it.
    pub(crate) total: u64,
}

/// One line of `/proc/<pid>/stat`.
struct Stat {
    parent: u32,
    own_ticks: u64,
    reaped_ticks: u64,
}

/// Ticks a second. It is 100 on every Linux that is in use; the kernel fixes it for programs.
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;

pub(crate) fn machine() -> anyhow::Result<MachineTicks> {
    let text = fs::read_to_string("/proc/stat").context("only Linux has /proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .take(8)
        .map(|number| number.parse().unwrap_or_default())
        .collect();
    let total = ticks.iter().sum();
    let waiting = ticks
        .get(3)
        .zip(ticks.get(4))
        .map_or(0, |(idle, io)| idle + io);
    Ok(MachineTicks {
        busy: total - waiting,
        total,
    })
}

fn stat_of(pid: u32) -> anyhow::Result<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name stands in parentheses and may contain anything.
    let (_, rest) = text.rsplit_once(") ").context("an odd /proc/<pid>/stat")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| -> anyhow::Result<u64> {
        Ok(fields
            .get(index)
            .context("a short /proc/<pid>/stat")?
            .parse()?)
    };
    Ok(Stat {
        parent: u32::try_from(number(1)?)?,
        own_ticks: number(11)? + number(12)?,
        reaped_ticks: number(13)? + number(14)?,
    })
}

/// The process that started another one.
pub(crate) fn parent_of(pid: u32) -> anyhow::Result<u32> {
    Ok(stat_of(pid)?.parent)
}

/// The ticks of one process, and of its children that have ended.
pub(crate) fn ticks_of(pid: u32) -> anyhow::Result<u64> {
    let stat = stat_of(pid).with_context(|| format!("process {pid} has gone"))?;
    Ok(stat.own_ticks + stat.reaped_ticks)
}

/// The ticks of a process and of all its children, ended or not.
pub(crate) fn ticks_of_family(pid: u32) -> anyhow::Result<u64> {
    let mut children: HashMap<u32, Vec<(u32, u64)>> = HashMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // One that ended meanwhile is in its parent's count.
        if let Ok(stat) = stat_of(pid) {
            let ticks = stat.own_ticks + stat.reaped_ticks;
            children.entry(stat.parent).or_default().push((pid, ticks));
        }
    }
    let mut ticks = ticks_of(pid)?;
    let mut open = vec![pid];
    while let Some(parent) = open.pop() {
        for (child, its_ticks) in children.remove(&parent).unwrap_or_default() {
            ticks += its_ticks;
            open.push(child);
        }
    }
    Ok(ticks)
}

/// The ticks of the kernel's own threads; none where a container hides them.
pub(crate) fn ticks_of_kernel() -> u64 {
    /// The parent of them all.
    const KTHREADD: u32 = 2;
    match fs::read_to_string(format!("/proc/{KTHREADD}/comm")) {
        Ok(name) if name.trim() == "kthreadd" => ticks_of_family(KTHREADD).unwrap_or_default(),
        _ => 0,
    }
}

/// Memory that a process has in RAM, in MiB.
pub(crate) fn rss_mib(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}

/// The name of the processor and how many of it there are.
pub(crate) fn processors() -> (String, usize) {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let count = text
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    (name.to_owned(), count.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_is_counted() {
        let us = std::process::id();
        assert!(rss_mib(us).unwrap() > 0.5);
        assert!(ticks_of_family(parent_of(us).unwrap()).unwrap() >= ticks_of(us).unwrap());
        assert!(machine().unwrap().total > 0);
    }
}
