//! What a run measures: parts, each with its subjects, cases and rounds.

use crate::case::{At, Case, Pace, Workload};
use crate::subject::Subject;

/// Subjects that take turns with the same cases.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name in results.
    pub name: String,
    /// What is measured, in the order of the first round.
    pub subjects: Vec<Subject>,
    /// Loads, in order.
    pub cases: Vec<Case>,
    /// Turns of each subject.
    pub rounds: usize,
    /// Whether a subject has to do with a case.
    pub asks: fn(Subject, &Case) -> bool,
}

impl Part {
    /// One in which every subject does what it can.
    pub fn new(name: &str, subjects: &[Subject], cases: Vec<Case>, rounds: usize) -> Part {
        let subjects = subjects.to_vec();
        Part { name: name.into(), subjects, cases, rounds, asks: |_, _| true }
    }

    /// The cases of a subject, in groups that share their keys and so a start of the servers.
    pub fn groups(&self, subject: Subject) -> Vec<Vec<&Case>> {
        let mut groups: Vec<Vec<&Case>> = vec![];
        for case in self.cases.iter().filter(|case| self.measures(subject, case)) {
            let alike = |group: &&mut Vec<&Case>| {
                (group[0].keys, group[0].value) == (case.keys, case.value)
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.push(case),
                None => groups.push(vec![case]),
            }
        }
        groups
    }

    /// Whether a subject is measured under a case. Where there is one server, clients can't be at
    /// the leader or spread, and it is measured once.
    pub fn measures(&self, subject: Subject, case: &Case) -> bool {
        let placed = case.at == At::Spread || subject.is_cluster() || !self.is_spread_too(case);
        placed && subject.carries_out(case.workload) && (self.asks)(subject, case)
    }

    fn is_spread_too(&self, case: &Case) -> bool {
        self.cases.contains(&Case { at: At::Spread, ..case.clone() })
    }

    /// The order of a round: A B, B A, A B, …
    pub fn order(&self, round: usize) -> Vec<Subject> {
        let mut order = self.subjects.clone();
        if round.is_multiple_of(2) {
            order.reverse();
        }
        order
    }

    /// How many cases are measured in all rounds.
    pub fn steps(&self) -> u64 {
        let of = |subject: &Subject| {
            self.cases.iter().filter(|case| self.measures(*subject, case)).count() as u64
        };
        self.subjects.iter().map(of).sum::<u64>() * self.rounds as u64
    }
}

/// YCSB's core workloads, on the subjects that can carry them out.
pub fn ycsb(subjects: &[Subject], rounds: usize, base: &Case) -> Vec<Part> {
    let cases = Workload::ALL.into_iter().filter(|workload| workload.is_ycsb());
    let distribution = crate::case::Distribution::Zipfian;
    let cases = cases.map(|workload| Case { workload, distribution, ..base.clone() });
    vec![Part::new("ycsb", subjects, cases.collect(), rounds)]
}

/// Throughput and latency from one connection to 256, and from values of 100 bytes to 64 KiB.
pub fn curves(subjects: &[Subject], rounds: usize) -> Vec<Part> {
    let base = Case { keys: 1_000, ..Case::default() };
    let connections = [1, 4, 16, 64, 256].map(|connections| Case { connections, ..base.clone() });
    let values = [100, 1 << 10, 4 << 10, 16 << 10, 64 << 10];
    let values = values.map(|value| Case { value, ..base.clone() });
    let both = |cases: &[Case; 5]| {
        let get = cases.iter().map(|case| Case { workload: Workload::Get, ..case.clone() });
        cases.iter().cloned().chain(get).collect::<Vec<_>>()
    };
    vec![
        Part::new(CONNECTIONS, subjects, both(&connections), rounds),
        Part::new(VALUES, subjects, both(&values), rounds),
    ]
}

/// The part of [`curves`] that varies connections.
pub const CONNECTIONS: &str = "connections";
/// The part of [`curves`] that varies the size of values.
pub const VALUES: &str = "values";
/// The part of [`must_show`] with the lines about speed.
pub const SPEED: &str = "speed";
/// The part of [`must_show`] about memory.
pub const MEMORY: &str = "memory";

/// What the lines of "Must show" ask for, 1 to 7; the eighth is the recovery benchmark's.
pub fn must_show(newer_nats: bool, rounds: usize) -> Vec<Part> {
    let base = Case::default();
    let mut cases = vec![];
    for at in [At::Spread, At::Leader] {
        let base = Case { at, ..base.clone() };
        let piped = Case { pipeline: 16, ..base.clone() };
        cases.extend([
            base.clone(),
            Case { workload: Workload::Get, ..base.clone() },
            Case { workload: Workload::Get, ..piped.clone() },
            piped,
            Case { pace: Pace::Half, ..base },
        ]);
    }
    let mut subjects = vec![
        Subject::Underpin,
        Subject::Redis,
        Subject::Etcd,
        Subject::ZooKeeper,
        Subject::Nats,
        Subject::Echo,
    ];
    if newer_nats {
        subjects.insert(5, Subject::NatsAlways);
    }
    let speed = Part { asks: asked_for, ..Part::new(SPEED, &subjects, cases, rounds) };
    // What 1 M keys of 116 B take is no question of the moment: two rounds tell.
    let million = Case { keys: 1_000_000, workload: Workload::Get, ..base };
    let large = [Subject::Underpin, Subject::Etcd];
    let memory = Part::new(MEMORY, &large, vec![million], rounds.min(2));
    let curves = curves(&[Subject::Underpin], rounds);
    [speed, memory].into_iter().chain(curves).collect()
}

/// Whom a case of the part about speed is for.
fn asked_for(subject: Subject, case: &Case) -> bool {
    let (piped, open) = (case.pipeline == 16, case.pace == Pace::Half);
    match subject {
        Subject::Underpin => true,
        Subject::Redis | Subject::RedisEverysec | Subject::Echo => !open,
        Subject::Etcd => !piped,
        Subject::ZooKeeper => !piped && case.workload == Workload::Set,
        Subject::Nats | Subject::NatsAlways => !piped && !open,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_take_turns() {
        let part = Part::new("x", &[Subject::Underpin, Subject::Redis], vec![], 3);
        assert_eq!(part.order(1), [Subject::Underpin, Subject::Redis]);
        assert_eq!(part.order(2), [Subject::Redis, Subject::Underpin]);
        assert_eq!(part.order(3), part.order(1));
    }

    #[test]
    fn cases_with_the_same_keys_share_servers() {
        let case = |value, pipeline| Case { value, pipeline, ..Case::default() };
        let cases = vec![case(100, 1), case(200, 1), case(100, 16)];
        let part = Part::new("x", &[Subject::Redis], cases, 2);
        let groups = part.groups(Subject::Redis);
        assert_eq!(groups.iter().map(Vec::len).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(part.steps(), 6);
    }

    #[test]
    fn one_server_is_measured_once() {
        let cases = At::ALL.map(|at| Case { at, ..Case::default() }).to_vec();
        let part = Part::new("x", &[Subject::Redis, Subject::Etcd], cases, 1);
        assert_eq!(part.groups(Subject::Redis)[0].len(), 1);
        assert_eq!(part.groups(Subject::Etcd)[0].len(), 2);
        let leader = vec![Case { at: At::Leader, ..Case::default() }];
        let alone = Part::new("x", &[Subject::Redis], leader, 1);
        assert_eq!(alone.groups(Subject::Redis)[0].len(), 1);
    }

    #[test]
    fn everything_that_must_be_shown_is_measured() {
        let parts = must_show(true, 5);
        let speed = &parts[0];
        let count = |subject| speed.groups(subject).concat().len();
        assert_eq!(count(Subject::Underpin), 10);
        assert_eq!((count(Subject::Redis), count(Subject::Echo)), (4, 4));
        assert_eq!((count(Subject::Etcd), count(Subject::ZooKeeper)), (6, 4));
        assert_eq!((count(Subject::Nats), count(Subject::NatsAlways)), (2, 2));
        let names: Vec<&str> = parts.iter().map(|part| &part.name[..]).collect();
        assert_eq!(names, [SPEED, MEMORY, CONNECTIONS, VALUES]);
        let ycsb = &ycsb(&[Subject::Redis, Subject::Etcd], 5, &Case::default())[0];
        assert_eq!(ycsb.groups(Subject::Redis)[0].len(), 5);
        assert_eq!(ycsb.groups(Subject::Etcd)[0].len(), 6);
    }
}
