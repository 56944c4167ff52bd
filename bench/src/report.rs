//! Results: every turn as JSON, and a page that compares.

use crate::options::{Options, Workload};
use crate::subject::Subject;
use std::fmt::Write;

/// What one workload of one turn showed.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which turn of its subject, from 1.
    pub round: usize,
    /// What was measured.
    pub subject: Subject,
    /// Under which load.
    pub workload: Workload,
    /// Answered requests.
    pub ops: u64,
    /// Error replies.
    pub errors: u64,
    /// Seconds.
    pub seconds: f64,
    /// Latencies in microseconds: half, 99 of 100, 999 of 1000, the longest.
    pub latency_us: [u64; 4],
    /// CPU seconds of all server processes.
    pub server_cpu: f64,
    /// CPU seconds of the load generator.
    pub generator_cpu: f64,
    /// Peak memory of all server processes since their start, in bytes.
    pub memory: u64,
}

impl Turn {
    /// Answered requests a second.
    pub fn rate(&self) -> f64 {
        self.ops as f64 / self.seconds
    }

    /// CPU of the servers per request, in microseconds.
    fn cpu_us(&self) -> f64 {
        self.server_cpu * 1e6 / self.ops.max(1) as f64
    }

    /// As a JSON object on one line.
    pub fn json(&self) -> String {
        let [p50, p99, p999, max] = self.latency_us;
        format!(
            "{{\"round\":{},\"subject\":\"{}\",\"workload\":\"{}\",\"ops\":{},\"errors\":{},\
             \"seconds\":{:.3},\"ops_per_second\":{:.1},\"p50_us\":{p50},\"p99_us\":{p99},\
             \"p999_us\":{p999},\"max_us\":{max},\"server_cpu_seconds\":{:.2},\
             \"generator_cpu_seconds\":{:.2},\"peak_memory_bytes\":{}}}",
            self.round,
            self.subject.name(),
            self.workload.name(),
            self.ops,
            self.errors,
            self.seconds,
            self.rate(),
            self.server_cpu,
            self.generator_cpu,
            self.memory,
        )
    }
}

/// The page.
pub fn summary(
    options: &Options,
    subjects: &[Subject],
    facts: &[(&str, String)],
    turns: &[Turn],
) -> String {
    let mut page = format!("# bench {}\n\n", options.name);
    for subject in subjects {
        line(&mut page, format_args!("- {}: {}", subject.name(), subject.description()));
    }
    line(
        &mut page,
        format_args!(
            "- load: {} connections, {} in flight on each, {} keys, values of {} bytes, closed loop, \
             {} s measured after {} s of warm-up, {} turns each, taking turns A B B A",
            options.connections,
            options.pipeline,
            options.keys,
            options.value,
            options.seconds,
            options.warmup,
            options.rounds,
        ),
    );
    for (name, value) in facts {
        line(&mut page, format_args!("- {name}: {value}"));
    }
    page.push_str("\nMedian of the turns, with the lowest and the highest in brackets.\n\n");
    page.push_str(
        "| load | subject | ops/s | p50 ms | p99 ms | server CPU µs/op | generator CPU µs/op | peak memory MiB | errors |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for workload in &options.workloads {
        for subject in subjects {
            let of: Vec<&Turn> = turns
                .iter()
                .filter(|turn| turn.workload == *workload && turn.subject == *subject)
                .collect();
            line(&mut page, format_args!("{}", row(*workload, *subject, &of)));
        }
    }
    if subjects.len() == 2 {
        ratios(&mut page, options, subjects, turns);
    }
    page
}

/// A row of the table.
fn row(workload: Workload, subject: Subject, turns: &[&Turn]) -> String {
    let spread = |of: &dyn Fn(&Turn) -> f64, digits: usize| {
        let values: Vec<f64> = turns.iter().map(|turn| of(turn)).collect();
        let (median, low, high) = median(values);
        format!("{median:.digits$} [{low:.digits$}–{high:.digits$}]")
    };
    format!(
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        workload.name(),
        subject.name(),
        spread(&Turn::rate, 0),
        spread(&|turn| turn.latency_us[0] as f64 / 1e3, 2),
        spread(&|turn| turn.latency_us[1] as f64 / 1e3, 2),
        spread(&Turn::cpu_us, 1),
        spread(&|turn| turn.generator_cpu * 1e6 / turn.ops.max(1) as f64, 1),
        spread(&|turn| turn.memory as f64 / f64::from(1 << 20), 0),
        turns.iter().map(|turn| turn.errors).sum::<u64>(),
    )
}

/// The first subject over the second, turn by turn.
fn ratios(page: &mut String, options: &Options, subjects: &[Subject], turns: &[Turn]) {
    let [first, second] = [subjects[0], subjects[1]];
    line(page, format_args!("\n{} / {}, turn by turn:\n", first.name(), second.name()));
    page.push_str(
        "| load | ops/s | p50 | p99 | server CPU/op |\n| --- | --- | --- | --- | --- |\n",
    );
    for workload in &options.workloads {
        let ratio = |of: &dyn Fn(&Turn) -> f64| {
            let values = (1..=options.rounds).filter_map(|round| {
                let find = |subject: Subject| {
                    turns.iter().find(|turn| {
                        turn.round == round && turn.subject == subject && turn.workload == *workload
                    })
                };
                Some(of(find(first)?) / of(find(second)?))
            });
            let (median, low, high) = median(values.collect());
            format!("{median:.2} [{low:.2}–{high:.2}]")
        };
        let row = format!(
            "| {} | {} | {} | {} | {} |",
            workload.name(),
            ratio(&Turn::rate),
            ratio(&|turn| turn.latency_us[0] as f64),
            ratio(&|turn| turn.latency_us[1] as f64),
            ratio(&Turn::cpu_us),
        );
        line(page, format_args!("{row}"));
    }
}

/// Median, lowest and highest; zeros of nothing.
fn median(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => (0.0, 0.0, 0.0),
        count => {
            let middle = (values[(count - 1) / 2] + values[count / 2]) / 2.0;
            (middle, values[0], values[count - 1])
        }
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a String takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), (2.0, 1.0, 3.0));
        assert_eq!(median(vec![4.0, 1.0]), (2.5, 1.0, 4.0));
        assert_eq!(median(vec![]), (0.0, 0.0, 0.0));
    }

    #[test]
    fn a_turn_as_json() {
        let turn = Turn {
            round: 1,
            subject: Subject::Redis,
            workload: Workload::Set,
            ops: 1000,
            errors: 0,
            seconds: 2.0,
            latency_us: [1, 2, 3, 4],
            server_cpu: 0.5,
            generator_cpu: 0.25,
            memory: 7,
        };
        let json = turn.json();
        assert!(
            json.starts_with(
                "{\"round\":1,\"subject\":\"redis\",\"workload\":\"set\",\"ops\":1000,"
            )
        );
        assert!(json.contains("\"ops_per_second\":500.0,"), "{json}");
        assert!(json.ends_with("\"peak_memory_bytes\":7}"), "{json}");
    }
}
