//! What the machine is, and what processes cost it.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// CPU seconds that processes have used so far, in user and kernel.
pub fn cpu_seconds(processes: &[u32]) -> f64 {
    let ticks: u64 = processes.iter().map(|id| cpu_ticks(*id).unwrap_or(0)).sum();
    // Linux shows ticks of 10 ms to programs, whatever it uses itself.
    ticks as f64 / 100.0
}

/// The sum of `utime` and `stime` in /proc/ID/stat.
fn cpu_ticks(process: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let after_name = stat.rsplit_once(") ")?.1;
    let fields: Vec<&str> = after_name.split(' ').collect();
    Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
}

/// CPU seconds that this process has used so far.
pub fn own_cpu_seconds() -> f64 {
    cpu_seconds(&[std::process::id()])
}

/// The most memory that each process ever held, in bytes.
pub fn peak_memory(processes: &[u32]) -> Vec<u64> {
    processes.iter().map(|id| status(*id, "VmHWM:").unwrap_or(0)).collect()
}

/// The memory that each process holds, in bytes.
pub fn memory(processes: &[u32]) -> Vec<u64> {
    processes.iter().map(|id| status(*id, "VmRSS:").unwrap_or(0)).collect()
}

/// A number of kilobytes in /proc/ID/status, in bytes.
fn status(process: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Facts about the machine, each with its name.
pub fn facts(folder: &Path) -> Vec<(&'static str, String)> {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processor", format!("{model}, {cores} cores")),
        ("kernel", file("/proc/sys/kernel/osrelease").trim().to_string()),
        ("syncs of 4 KiB a second", format!("{:.0}", syncs_per_second(folder))),
        ("commit", said("git", &["describe", "--always", "--dirty"])),
        ("date", date()),
    ]
}

/// What a program prints.
pub fn said(program: &str, words: &[&str]) -> String {
    let output = Command::new(program).args(words).output();
    output.map_or_else(
        |error| error.to_string(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_string(),
    )
}

/// How often this disk makes 4 KiB durable in a second, one after the other, in a file that has
/// its length already: what bounds every store that syncs before it acknowledges.
fn syncs_per_second(folder: &Path) -> f64 {
    let path = folder.join("sync-probe");
    let measure = || -> std::io::Result<f64> {
        use std::os::unix::fs::FileExt;
        let mut file = fs::File::create(&path)?;
        file.write_all(&vec![0; 4 << 20])?;
        file.sync_all()?;
        let started = Instant::now();
        let mut count = 0;
        while started.elapsed().as_millis() < 1_000 {
            file.write_all_at(&[1; 4096], count % 1024 * 4096)?;
            file.sync_data()?;
            count += 1;
        }
        Ok(count as f64 / started.elapsed().as_secs_f64())
    };
    let rate = measure().unwrap_or(0.0);
    let _ = fs::remove_file(path);
    rate
}

/// Today, in UTC: `2026-11-23`.
pub fn date() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil((since / 86_400) as i64);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of a day counted from 1970-01-01, walking through years and months.
fn civil(mut day: i64) -> (i64, i64, i64) {
    let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    loop {
        let days = 365 + i64::from(leap(year));
        if day < days {
            break;
        }
        day -= days;
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    (year, month, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (day, date) in [
            (0, (1970, 1, 1)),
            (59, (1970, 3, 1)),
            (11_016, (2000, 2, 29)),
            (20_780, (2026, 11, 23)),
        ] {
            assert_eq!(civil(day), date);
        }
    }

    #[test]
    fn this_process_costs_something() {
        let me = [std::process::id()];
        let started = Instant::now();
        while cpu_seconds(&me) == 0.0 {
            assert!(started.elapsed().as_secs() < 30, "no CPU time within 30 s");
        }
        assert!(own_cpu_seconds() > 0.0);
        assert!(memory(&me)[0] > 1 << 20 && peak_memory(&me)[0] > 1 << 20);
    }
}
