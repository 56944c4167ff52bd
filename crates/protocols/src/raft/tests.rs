//! The smallest stories, in Rust; the longer ones are in `tests/raft/*.txt`.

use super::*;
use crate::liveness;
use base::{NodeId, Wall};

fn time(ms: u64) -> Time {
    Time { mono: Mono(ms * MILLISECOND), wall: Wall((1 << 60) + ms * MILLISECOND) }
}

fn alone(applied: u64, hard_state: HardState, entries: Vec<Entry>) -> (Raft, Liveness) {
    let liveness = Liveness::new(liveness::Options::default(), NodeId(1), 1, true, Mono(0));
    let membership = Membership::of_voters([(ReplicaId(1), NodeId(1))]);
    let log_start = LogStart { membership, ..LogStart::default() };
    let restored = Restored { hard_state, log_start, entries, applied: Index(applied) };
    let options = Options::default();
    let raft = Raft::new(options, ShardId(1), ReplicaId(1), NodeId(1), 1, restored, time(0));
    (raft, liveness)
}

#[test]
fn a_single_voter_elects_itself_and_commits_what_is_durable() {
    let (mut raft, liveness) = alone(0, HardState::default(), Vec::new());
    let ctx = Context { now: time(1), liveness: &liveness };
    let mut effects = Vec::new();
    raft.step(ctx, Input::Tick, &mut effects);
    assert!(matches!(effects[0], Effect::Persist { ticket: 1, hard_state: Some(_), .. }));
    assert_eq!(raft.role(), Role::Candidate, "our own vote counts once it is durable");
    effects.clear();
    raft.step(ctx, Input::Persisted { ticket: 1 }, &mut effects);
    assert_eq!(raft.role(), Role::Leader);
    let (index, stamp) = raft.propose(ctx, Bytes::from_static(b"x"), 1).unwrap();
    assert_eq!((index, raft.commit()), (Index(2), Index(0)));
    assert!(stamp > Stamp(1 << 60));
    assert_eq!(raft.lease_read(ctx), None, "nothing of this term is committed");
    raft.flush(ctx, &mut effects);
    effects.clear();
    raft.step(ctx, Input::Persisted { ticket: 3 }, &mut effects);
    assert_eq!(effects, [Effect::Commit { index: Index(2) }]);
    assert_eq!(raft.lease_read(ctx), Some(Index(2)));
    assert_eq!(raft.deadline(ctx), None, "alone and idle");
}

#[test]
fn a_restarted_single_voter_reads_nothing_before_its_own_term_commits() {
    let entry = |index: u64| Entry {
        term: Term(1),
        index: Index(index),
        stamp: Stamp(index),
        kind: EntryKind::Command,
        data: Bytes::new(),
    };
    // Entry 2 was acknowledged before the crash; the commit index on disk is older.
    let hard_state = HardState { term: Term(1), vote: Some(ReplicaId(1)), commit: Index(1) };
    let (mut raft, liveness) = alone(1, hard_state, vec![entry(1), entry(2)]);
    let ctx = Context { now: time(1), liveness: &liveness };
    let mut effects = Vec::new();
    raft.step(ctx, Input::Tick, &mut effects);
    raft.step(ctx, Input::Persisted { ticket: 1 }, &mut effects);
    let read = raft.read_index(ctx).unwrap();
    assert_eq!(raft.lease_read(ctx), None);
    effects.clear();
    raft.flush(ctx, &mut effects);
    assert_eq!(effects, []);
    raft.step(ctx, Input::Persisted { ticket: 2 }, &mut effects);
    assert!(effects.contains(&Effect::ReadReady { id: read, index: Index(3) }));
}
