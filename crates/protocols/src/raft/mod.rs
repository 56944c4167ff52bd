//! One replica of one shard: Raft, for readers of the paper.
//!
//! Raft keeps a log equal on a majority of replicas. One replica leads in a term; it gives commands
//! a place in its log, sends them to the others, and once a majority holds an entry *durably* it is
//! committed: no later leader can lack it, because a candidate needs the votes of a majority, and
//! nobody votes for a log that ends before its own. Everything else is about doing this while
//! processes stop, messages go astray and the set of replicas itself changes (Ongaro and Ousterhout,
//! "In Search of an Understandable Consensus Algorithm"; Ongaro's thesis for sections 3 to 6 below).
//!
//! # The shape
//!
//! [`Raft`] does no I/O and reads no clock. [`Raft::step`] takes an [`Input`] and pushes
//! [`Effect`]s; proposals and reads ([`Raft::propose`], [`Raft::read_index`]) only take note, so
//! that a turn with a hundred of them ends in *one* write and *one* message per follower when
//! [`Raft::flush`] is called.
//!
//! ```text
//! propose(SET k v), flush   ->  Persist {ticket 8, entries 12}    to the log, with everyone's
//!                               Send r2 Append, Send r3 Append     meanwhile
//! Persisted {ticket 8}      ->  our own copy counts
//! Appended 12 from r3       ->  Commit {12}                        apply, answer
//!                               a few ms later, if nothing else goes out: Append, commit 12
//! ```
//!
//! # Where we decide differently from the paper, and why
//!
//! 1. **Nothing is said before it is durable.** Each [`Effect::Persist`] has a ticket. Messages that
//!    rest on it (votes, a new term, acknowledgements) wait inside until [`Input::Persisted`] covers
//!    it; a leader's appends do not wait, its disk works in parallel with the followers'. Whatever
//!    waits is dropped when the term moves on: an acknowledgement belongs to the leader it answers,
//!    and a truncation between the write and its completion must not make a stale one true.
//! 2. **No heartbeats per shard.** Nodes vouch for each other ([`crate::liveness`]). Once per term a
//!    leader asks each follower to *bind* the term to its node's support of the leader's node
//!    (`lease.rs`). A bound follower neither campaigns nor votes for anyone else while that very
//!    support, epoch and all, lasts. That gives the leader its lease, its check-quorum and the
//!    followers their leader stickiness, and an idle shard sends nothing at all.
//! 3. **Elections ask first.** A pre-vote ("would you?") goes before the vote, so a replica that was
//!    cut off does not come back with a high term and depose a healthy leader. Pre-vote alone does
//!    not protect a leader; binding does.
//! 4. **Reads** (`read.rs`) are answered from the lease if it covers now; otherwise by a round of
//!    questions to a quorum, many reads to a round, numbered by us. Both only once an entry of the
//!    leader's own term is committed.
//! 5. **Membership** (`membership.rs`) changes by joint consensus, one change at a time, left
//!    automatically. A membership counts as soon as it is in the log.
//! 6. **Stamps.** The leader stamps each entry with shard time ([`crate::clock`]), which every
//!    message tells; a leader that nobody told it waits for the wall clocks first (`time.rs`).
//!
//! # Invariants, asserted as we go
//!
//! The term never goes back; one vote per term; `start <= applied <= commit <= last`; the commit
//! index never goes back; a committed entry is never truncated; what a follower acknowledged never
//! goes back within a term; a leader never truncates its log and commits by count only entries of
//! its own term.
//!
//! # What the owner must do
//!
//! Carry out a [`Effect::Persist`] in order and report it; deliver messages or lose them, in any
//! order, any number of times, but never to a wrong replica; call [`Raft::step`] with
//! [`Input::Tick`] at [`Raft::deadline`], which has to be asked anew after every step of the
//! [`Liveness`]; keep a replica that [`Raft::stop`] was called on until [`Status::releasing`] is
//! false, or else its followers stay bound to it for as long as its node lives; create a replica
//! once per process only, since what it promised is in its memory and the pause after a start
//! ([`Liveness::grants_votes`]) is the process'.
//!
//! # Files
//!
//! `election.rs` who leads; `lease.rs` binding, lease, check-quorum; `replicate.rs` entries, their
//! acknowledgement, commit; `membership.rs`, `read.rs`, `transfer.rs`, `snapshot.rs` and `time.rs`
//! as named;
//! `log.rs`, `progress.rs`, `quorum.rs` the parts; `message.rs` the words and their bytes.

mod election;
mod lease;
mod log;
mod membership;
mod message;
mod progress;
mod quorum;
mod read;
mod replicate;
mod snapshot;
mod time;
mod transfer;

#[cfg(test)]
mod tests;

pub use membership::Change;
pub use message::{Body, Message, Position};
pub use progress::{Feed, Progress};
pub use read::ReadId;
pub use time::TimeSource;

use crate::clock::{Reading, ShardClock};
use crate::liveness::Liveness;
use base::time::{MILLISECOND, SECOND};
use base::{
    Entry, EntryKind, HardState, Index, LogStart, Membership, Mono, NodeId, Random, ReplicaId,
    ShardId, Stamp, Term, Time,
};
use bytes::Bytes;
use election::Campaign;
use lease::{Binding, Releasing};
use log::Log;
use read::Reads;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use transfer::Transfer;

/// Settings of a [`Raft`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Options {
    /// Shortest pause before a replica without a leader campaigns. Default 150 ms: longer than the
    /// heartbeat interval by which two followers may differ about the moment support lapsed.
    pub election_ns_min: u64,
    /// Longest such pause; each is drawn at random so that two rarely campaign at once. A leader
    /// without a quorum steps down after it, and a transfer is given up after it. Default 300 ms:
    /// with the support period before it a leader's death costs less than a second.
    pub election_ns_max: u64,
    /// Pause before a message that got no answer is sent again. Default 150 ms: links lose messages
    /// only when they break, so this is rare, and a slow disk's answer should not be asked for twice.
    pub resend_ns: u64,
    /// How long a leader waits for the next append to carry a new commit index before it sends one
    /// for its sake. Default 5 ms: under load none is sent, and replicas lag by no more.
    pub commit_ns: u64,
    /// Appends with entries that may be under way to one follower. Default 256.
    pub inflight_messages_max: usize,
    /// Bytes of them. Default 8 MiB: two of the largest entries, or 70 ms of a 1 Gbit/s link.
    pub inflight_bytes_max: usize,
    /// Bytes of entries in one append; one entry may be larger. Default 1 MiB: votes and support
    /// never wait long behind it.
    pub append_bytes_max: usize,
    /// Bytes of entries that may wait for a quorum before proposals are refused as busy. Default
    /// 32 MiB: bounds the memory of a leader whose followers are slow.
    pub uncommitted_bytes_max: usize,
    /// Bytes of applied entries kept for followers that may still need them. Default 16 MiB: about
    /// where a snapshot becomes the cheaper way.
    pub retain_bytes_max: usize,
    /// How long a new leader whom nobody could tell shard time waits for the wall clocks of all
    /// voters, before a quorum's will do. Default 1 s: ten heartbeats, so that only a node that is
    /// down or cut off is not heard of.
    pub clock_wait_ns: u64,
    /// What shard time that lags behind the quorum's clocks gains, in millionths of the time that
    /// passes. Default 8000: a key ends early by no more than 0.8 % of its life, and clocks do not
    /// drift by a tenth of it, so a lag is made up for in the end.
    pub clock_slew_ppm: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            election_ns_min: 150 * MILLISECOND,
            election_ns_max: 300 * MILLISECOND,
            resend_ns: 150 * MILLISECOND,
            commit_ns: 5 * MILLISECOND,
            inflight_messages_max: 256,
            inflight_bytes_max: 8 << 20,
            append_bytes_max: 1 << 20,
            uncommitted_bytes_max: 32 << 20,
            retain_bytes_max: 16 << 20,
            clock_wait_ns: SECOND,
            clock_slew_ppm: 8000,
        }
    }
}

/// What surrounds a step: the time, and what this replica's node knows of other nodes.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Sampled after the input arrived.
    pub now: Time,
    /// This node's.
    pub liveness: &'a Liveness,
}

/// What storage kept of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Restored {
    /// Term, vote, and a commit index that may be old.
    pub hard_state: HardState,
    /// Where the log starts: everything up to its index is in the state machine. A shard's first
    /// replicas begin with their common membership at index 0; a replica that is added later begins
    /// with the default, which has no members.
    pub log_start: LogStart,
    /// Everything after it.
    pub entries: Vec<Entry>,
    /// What the state machine holds.
    pub applied: Index,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// The deadline came.
    Tick,
    /// Another replica of the shard said something.
    Message {
        /// The replica.
        from: ReplicaId,
        /// What it said.
        message: Message,
    },
    /// Every [`Effect::Persist`] up to this ticket is durable.
    Persisted {
        /// The latest of them.
        ticket: u64,
    },
}

/// What must follow, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Write to the log, and report the ticket once it is durable. Tickets rise.
    Persist {
        /// To be reported by [`Input::Persisted`].
        ticket: u64,
        /// Replaces the hard state.
        hard_state: Option<HardState>,
        /// The log starts anew here, before `entries`: all earlier entries are void.
        reset: Option<LogStart>,
        /// To be written after the entry before the first of them; later ones are void.
        entries: Vec<Entry>,
    },
    /// Send a message to a replica. It may be lost.
    Send {
        /// To this replica.
        to: ReplicaId,
        /// This.
        message: Message,
    },
    /// Entries from this one on were dropped from the log; what was proposed there is lost, or
    /// someone else's.
    Truncated {
        /// The first of them.
        from: Index,
    },
    /// Entries up to here are committed. Fetch them with [`Raft::entries`], apply them, and say so
    /// with [`Raft::applied`].
    Commit {
        /// The last of them.
        index: Index,
    },
    /// Reads with this id and all earlier ones are good once `index` is applied.
    ReadReady {
        /// The last of them.
        id: ReadId,
        /// What must be applied first.
        index: Index,
    },
    /// This replica no longer leads: reads that wait must be asked elsewhere.
    ReadsFailed,
    /// A follower needs entries that are compacted: stream it a snapshot, and tell
    /// [`Raft::snapshot_started`] and [`Raft::snapshot_outcome`].
    NeedSnapshot {
        /// The follower.
        to: ReplicaId,
    },
    /// The log now starts here. Storage may release what lies before.
    Compact {
        /// The new start.
        log_start: LogStart,
    },
    /// The role, the term or the known leader changed.
    Role {
        /// This replica's part.
        role: Role,
        /// In this term.
        term: Term,
        /// Who leads, as far as is known.
        leader: Option<ReplicaId>,
    },
    /// Another membership is in force; it may not be committed yet.
    MembershipChanged(Membership),
    /// This leader knows the shard's time, and takes proposals from now on.
    TimeSet(TimeSource),
}

/// A replica's part in its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// Why a proposal was not taken. It did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProposeError {
    /// Another replica leads, or none is known to.
    NotLeader {
        /// Who leads, as far as is known.
        leader: Option<ReplicaId>,
    },
    /// Too many bytes wait for a quorum.
    Busy,
    /// Leadership is being handed over.
    Transferring,
    /// The leader is too new: it does not know the shard's time yet, or, for a change of membership,
    /// has committed nothing of its term yet.
    NotReady,
    /// A change of membership is still under way.
    ChangeUnderWay,
    /// The change makes no sense for the membership in force; the text says why.
    InvalidChange(&'static str),
    /// Nobody could take over.
    NoTarget,
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProposeError::NotLeader { leader: Some(leader) } => {
                write!(f, "replica {leader} leads")
            }
            ProposeError::NotLeader { leader: None } => f.write_str("no leader is known"),
            ProposeError::Busy => f.write_str("too much waits for a quorum"),
            ProposeError::Transferring => f.write_str("leadership is being handed over"),
            ProposeError::NotReady => f.write_str("the leader is not ready yet"),
            ProposeError::ChangeUnderWay => f.write_str("a membership change is under way"),
            ProposeError::InvalidChange(why) => write!(f, "invalid change: {why}"),
            ProposeError::NoTarget => f.write_str("no replica could take over"),
        }
    }
}

impl std::error::Error for ProposeError {}

/// One replica of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raft {
    options: Options,
    shard: ShardId,
    id: ReplicaId,
    node: NodeId,
    random: Random,
    clock: ShardClock,

    /// Never goes back.
    term: Term,
    vote: Option<ReplicaId>,
    log: Log,
    /// Never goes back, nor past the end of the log.
    commit: Index,
    /// Never past `commit`.
    applied: Index,
    /// Entries after this are needed by someone, as the leader said.
    keep: Index,

    storage: Storage,
    /// Messages that wait for a ticket; all of the present term.
    held: Vec<Held>,

    state: State,
    leader: Option<ReplicaId>,
    /// When the leader was last heard of.
    heard_at: Mono,
    /// When to campaign, unless bound to a leader.
    election_at: Mono,
    /// Numbers pre-votes.
    campaigns: u64,
    /// Numbers reads; never starts over, whoever leads.
    reads: u64,
    /// The leader asked us to take over in this term.
    asked_to_campaign: bool,
    binding: Option<Binding>,
    /// Leaders up to this term have let us go: what they still ask us to bind is void.
    released: Term,
    /// Followers that have to be told that this replica leads no more.
    releasing: BTreeMap<ReplicaId, Releasing>,
    /// Someone who knows said that we are no member any more: campaigns become rare.
    removed: bool,
    stopped: bool,

    /// Proposals or reads wait for a flush.
    unflushed: bool,
    /// Effects of the present step; empty between steps.
    out: Vec<Effect>,
    /// What the owner was told last.
    told: Told,
}

/// What is written, what is being written and what is to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Storage {
    /// The last ticket given out.
    ticket: u64,
    /// The last one known durable.
    durable: u64,
    /// The last one that carries term and vote.
    hard_ticket: u64,
    /// Entries up to here are durable.
    stable: Index,
    /// Writes of entries under way: ticket, and the last entry that still stands as written.
    writes: VecDeque<(u64, Index)>,
    /// Term or vote changed in this step.
    dirty_hard: bool,
    /// Entries from here on changed in this step.
    dirty_from: Option<Index>,
    /// The log started anew in this step.
    dirty_reset: bool,
    /// The commit index as written last.
    commit: Index,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Held {
    ticket: u64,
    to: ReplicaId,
    message: Message,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Told {
    commit: Index,
    role: Role,
    term: Term,
    leader: Option<ReplicaId>,
    membership: Arc<Membership>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State {
    Follower,
    PreCandidate(Campaign),
    Candidate(Campaign),
    Leader(Box<Leader>),
}

/// What only a leader knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Leader {
    /// The no-op entry that opened the term.
    term_start: Index,
    progress: BTreeMap<ReplicaId, Progress>,
    reads: Reads,
    transfer: Option<Transfer>,
    /// A campaign was asked for in this term: no lease any more until it ends.
    lease_dropped: bool,
    /// Since when no quorum supports this leader.
    alone_since: Option<Mono>,
    /// Cost of entries after the commit index.
    uncommitted_bytes: usize,
    /// When a commit index that no append has carried is sent for its own sake.
    commit_due: Option<Mono>,
    /// When it was elected.
    since: Mono,
    /// How it came to know the shard's time; without that it stamps no command.
    time_source: Option<TimeSource>,
}

/// What a replica is up to, for its owner and for people.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    /// The shard.
    pub shard: ShardId,
    /// The replica.
    pub id: ReplicaId,
    /// Its part.
    pub role: Role,
    /// In this term.
    pub term: Term,
    /// Whom it voted for.
    pub vote: Option<ReplicaId>,
    /// Who leads, as far as is known.
    pub leader: Option<ReplicaId>,
    /// Committed up to here.
    pub commit: Index,
    /// Applied up to here.
    pub applied: Index,
    /// Durable here up to here.
    pub stable: Index,
    /// The end of the log.
    pub last: Index,
    /// The last index that is compacted.
    pub start: Index,
    /// What the log in memory costs.
    pub log_bytes: usize,
    /// The membership in force.
    pub membership: Membership,
    /// Whether it is committed.
    pub membership_committed: bool,
    /// The leader's view of the others; empty elsewhere.
    pub progress: BTreeMap<ReplicaId, Progress>,
    /// Whether followers must still be told that this replica leads no more.
    pub releasing: bool,
    /// Whether this replica was told that it is no member any more.
    pub removed: bool,
    /// To whom leadership is being handed over.
    pub transferring: Option<ReplicaId>,
}

impl Raft {
    /// A replica as storage kept it. `seed` is for its election timeouts.
    pub fn new(
        options: Options,
        shard: ShardId,
        id: ReplicaId,
        node: NodeId,
        seed: u64,
        restored: Restored,
        now: Time,
    ) -> Raft {
        assert!(options.election_ns_min <= options.election_ns_max, "election timeouts are empty");
        let Restored { hard_state, log_start, entries, applied } = restored;
        let log = Log::new(log_start, entries);
        let start = log.start().index;
        // A commit index can be durable before the entries that it covers are durable here.
        let commit = hard_state.commit.min(log.last()).max(applied).max(start);
        assert!(
            start <= applied && commit <= log.last(),
            "restored log from {start} to {} does not fit the applied index {applied}",
            log.last()
        );
        let told = Told {
            commit: applied,
            role: Role::Follower,
            term: hard_state.term,
            leader: None,
            membership: log.membership_in_force().clone(),
        };
        let storage =
            Storage { stable: log.last(), commit: hard_state.commit, ..Storage::default() };
        let mut raft = Raft {
            shard,
            id,
            node,
            random: Random::new(seed),
            clock: ShardClock::new(options.clock_slew_ppm, log.last_stamp(), now.mono),
            term: hard_state.term.max(log.end().term),
            vote: hard_state.vote,
            commit,
            applied,
            keep: start,
            storage,
            held: Vec::new(),
            state: State::Follower,
            leader: None,
            heard_at: Mono(0),
            election_at: now.mono,
            campaigns: 0,
            reads: 0,
            asked_to_campaign: false,
            binding: None,
            released: Term(0),
            releasing: BTreeMap::new(),
            removed: false,
            stopped: false,
            unflushed: false,
            out: Vec::new(),
            told,
            log,
            options,
        };
        if raft.log.membership().voters.len() > 1 {
            raft.await_election(now.mono);
        }
        raft
    }

    /// Something happened; whatever must follow is pushed onto `effects`.
    pub fn step(&mut self, ctx: Context, input: Input, effects: &mut Vec<Effect>) {
        self.check_binding(ctx);
        match input {
            Input::Tick => {}
            Input::Message { from, message } => self.receive(ctx, from, message),
            Input::Persisted { ticket } => self.persisted(ctx, ticket),
        }
        self.finish(ctx, effects);
    }

    /// Carries out what was proposed and asked since the last step or flush, if anything was. To be
    /// called once a turn after them.
    pub fn flush(&mut self, ctx: Context, effects: &mut Vec<Effect>) {
        if self.unflushed {
            self.check_binding(ctx);
            self.finish(ctx, effects);
        }
    }

    /// Whether [`Raft::flush`] has something to do.
    pub fn is_unflushed(&self) -> bool {
        self.unflushed
    }

    /// When to call [`Raft::step`] with [`Input::Tick`] if nothing else happens first. For an idle
    /// shard this is when the support that it rests on would lapse: each heartbeat between the nodes
    /// moves it on, so the shard itself is never called. Ask again after each step of the liveness.
    pub fn deadline(&self, ctx: Context) -> Option<Mono> {
        if self.unflushed {
            return Some(ctx.now.mono);
        }
        let own = match &self.state {
            _ if self.stopped => None,
            State::Leader(leader) => self.leader_deadline(ctx, leader),
            _ => self.election_deadline(ctx),
        };
        earliest([own, self.release_deadline(ctx)])
    }

    /// Gives `data` a place in the log and a stamp. Nothing is sent or written before the next step
    /// or [`Raft::flush`]. The entry may be accepted before the term's first commit; it then waits
    /// behind it.
    ///
    /// `data` may hold several commands, each with a stamp of its own: the entry then takes `stamps`
    /// stamps in a row, and carries the last of them.
    pub fn propose(
        &mut self,
        ctx: Context,
        data: Bytes,
        stamps: u64,
    ) -> Result<(Index, Stamp), ProposeError> {
        let (budget, leader_id) = (self.options.uncommitted_bytes_max, self.leader);
        let State::Leader(leader) = &mut self.state else {
            return Err(ProposeError::NotLeader { leader: leader_id });
        };
        if leader.transfer.is_some() {
            return Err(ProposeError::Transferring);
        }
        if leader.time_source.is_none() {
            return Err(ProposeError::NotReady);
        }
        if leader.uncommitted_bytes > 0 && leader.uncommitted_bytes + data.len() > budget {
            return Err(ProposeError::Busy);
        }
        Ok(self.append_own(ctx, EntryKind::Command, data, stamps))
    }

    /// The owner's state machine holds everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        assert!(
            self.applied <= index && index <= self.commit,
            "applied {index} lies outside {} to {}",
            self.applied,
            self.commit
        );
        self.applied = index;
    }

    /// Entries after `after` and up to `upto`, together no more than `bytes_max` but at least one.
    pub fn entries(&self, after: Index, upto: Index, bytes_max: usize) -> Vec<Entry> {
        self.log.slice(after, upto, bytes_max)
    }

    /// The term of the entry at `index`, unless it lies before the log's start or after its end.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.log.term_at(index)
    }

    /// Where the log starts.
    pub fn log_start(&self) -> &LogStart {
        self.log.start()
    }

    /// The stamp of the last entry.
    pub fn last_stamp(&self) -> Stamp {
        self.log.last_stamp()
    }

    /// This replica's part.
    pub fn role(&self) -> Role {
        match self.state {
            State::Follower => Role::Follower,
            State::PreCandidate(_) => Role::PreCandidate,
            State::Candidate(_) => Role::Candidate,
            State::Leader(_) => Role::Leader,
        }
    }

    /// Who leads, as far as is known.
    pub fn leader(&self) -> Option<ReplicaId> {
        self.leader
    }

    /// The present term.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Committed up to here.
    pub fn commit(&self) -> Index {
        self.commit
    }

    /// The owner's state machine holds everything up to here, as it said last.
    pub fn applied_index(&self) -> Index {
        self.applied
    }

    /// Whether a proposal would be taken now, but for a lack of room.
    pub fn takes_proposals(&self) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.transfer.is_none() && leader.time_source.is_some()
    }

    /// What the log in memory costs, in bytes.
    pub fn log_bytes(&self) -> usize {
        self.log.bytes()
    }

    /// Whether a follower's log is as good as equal to this leader's: its acknowledgements lag by
    /// less than one append.
    pub fn is_caught_up(&self, replica: ReplicaId) -> bool {
        let State::Leader(leader) = &self.state else { return false };
        leader.progress.get(&replica).is_some_and(|progress| {
            progress.feed == Feed::Replicate
                && self.log.cost_between(progress.matched, self.log.last())
                    <= self.options.append_bytes_max
        })
    }

    /// The membership in force, committed or not.
    pub fn membership(&self) -> &Membership {
        self.log.membership()
    }

    /// What this replica is up to.
    pub fn status(&self) -> Status {
        let leader = match &self.state {
            State::Leader(leader) => Some(leader),
            _ => None,
        };
        Status {
            shard: self.shard,
            id: self.id,
            role: self.role(),
            term: self.term,
            vote: self.vote,
            leader: self.leader,
            commit: self.commit,
            applied: self.applied,
            stable: self.storage.stable,
            last: self.log.last(),
            start: self.log.start().index,
            log_bytes: self.log.bytes(),
            membership: self.log.membership().clone(),
            membership_committed: self.log.membership_index() <= self.commit,
            progress: leader.map(|leader| leader.progress.clone()).unwrap_or_default(),
            releasing: !self.releasing.is_empty(),
            removed: self.removed,
            transferring: leader.and_then(|leader| leader.transfer.as_ref().map(|t| t.to)),
        }
    }

    /// This replica ends here (its node stops it, or it was removed): it leads no more, answers
    /// nothing, and tells its followers. Keep it until [`Status::releasing`] is false.
    pub fn stop(&mut self, ctx: Context, effects: &mut Vec<Effect>) {
        self.step_down(ctx);
        self.stopped = true;
        self.finish(ctx, effects);
    }

    fn receive(&mut self, ctx: Context, from: ReplicaId, message: Message) {
        let Message { term, time, body } = message;
        if let Body::Released { led } = body {
            return self.released(from, led);
        }
        if self.stopped || from == self.id {
            return;
        }
        self.hear_time(ctx, time);
        if let Body::PreVote { round, last } = body {
            // A question only: whatever its term, ours stays.
            return self.pre_vote_asked(ctx, from, term, round, last);
        }
        if term > self.term {
            let plain_vote = matches!(body, Body::Vote { transfer: false, .. });
            if plain_vote && self.keeps_faith(ctx, from) {
                return;
            }
            self.adopt(ctx, term);
            self.hear_time(ctx, time);
        }
        // Voters of an earlier term may answer a pre-vote: the question changed nobody's term.
        if term < self.term && !matches!(body, Body::PreVoted { .. }) {
            return self.answer_the_past(ctx, from, body);
        }
        match body {
            Body::PreVoted { round, granted, removed } => {
                self.pre_voted(ctx, from, round, granted, removed);
            }
            Body::Vote { last, transfer } => self.vote_asked(ctx, from, last, transfer),
            Body::Voted { granted } => self.voted(ctx, from, granted),
            Body::Append { prev, commit, keep, entries } => {
                self.follow(ctx, from);
                self.append(from, prev, commit, keep, entries);
            }
            Body::Appended { matched, commit } => self.appended(ctx, from, matched, commit),
            Body::Rejected { prev, hint } => self.rejected(from, prev, hint),
            Body::ReadRound { round } => {
                self.follow(ctx, from);
                self.send(from, Body::ReadAnswer { round });
            }
            Body::ReadAnswer { round } => self.read_answered(from, round),
            Body::Bind { node, epoch } => {
                self.follow(ctx, from);
                self.bind(ctx, from, node, epoch);
            }
            Body::Bound { epoch } => self.bound(from, epoch),
            Body::Release { led } => self.release_asked(ctx, from, led),
            Body::TimeoutNow => self.campaign_asked(from),
            Body::PreVote { .. } | Body::Released { .. } | Body::Newer => {}
        }
    }

    /// A message of an earlier term: the sender is told, if it waits for an answer.
    fn answer_the_past(&mut self, ctx: Context, from: ReplicaId, body: Body) {
        match body {
            Body::Release { led } => self.release_asked(ctx, from, led),
            Body::Vote { .. } => self.send(from, Body::Voted { granted: false }),
            Body::Append { .. } | Body::Bind { .. } | Body::ReadRound { .. } => {
                self.send(from, Body::Newer);
            }
            _ => {}
        }
    }

    /// Moves on to `term`, in which nothing is known yet.
    fn adopt(&mut self, ctx: Context, term: Term) {
        self.step_down(ctx);
        self.enter_term(term, None);
    }

    fn enter_term(&mut self, term: Term, vote: Option<ReplicaId>) {
        assert!(term > self.term, "term moved back from {} to {term}", self.term);
        self.term = term;
        self.vote = vote;
        self.leader = None;
        self.asked_to_campaign = false;
        self.storage.dirty_hard = true;
        // They answer a leader or a candidate whose time is over; and what an acknowledgement says
        // of our log may be untrue by the time it leaves.
        self.held.clear();
    }

    /// Becomes a follower of nobody, within the term. A leader's followers have to be told.
    fn step_down(&mut self, ctx: Context) {
        if let State::Leader(leader) = std::mem::replace(&mut self.state, State::Follower) {
            self.leader = None;
            if leader.reads.are_waiting() {
                self.out.push(Effect::ReadsFailed);
            }
            self.release_all(&leader);
            self.await_election(ctx.now.mono);
        }
        if self.leader == Some(self.id) {
            self.leader = None;
        }
    }

    /// Does what is due, then hands out the effects of this step: what must be written first.
    fn finish(&mut self, ctx: Context, effects: &mut Vec<Effect>) {
        self.unflushed = false;
        if !self.stopped {
            match self.state {
                State::Leader(_) => self.lead(ctx),
                _ => self.campaign_if_due(ctx),
            }
        }
        self.release(ctx);
        self.persist(effects);
        self.tell_time(ctx);
        effects.append(&mut self.out);
        self.tell(effects);
    }

    /// Hands out what changed in this step as one write.
    fn persist(&mut self, effects: &mut Vec<Effect>) {
        let storage = &mut self.storage;
        if !storage.dirty_hard && storage.dirty_from.is_none() && !storage.dirty_reset {
            return;
        }
        storage.ticket += 1;
        let hard = storage.dirty_hard || storage.commit != self.commit;
        if storage.dirty_hard {
            storage.hard_ticket = storage.ticket;
        }
        let start = self.log.start().index;
        let from = if storage.dirty_reset { Some(start.next()) } else { storage.dirty_from };
        let entries = from
            .map(|from| self.log.slice(from.prev().max(start), self.log.last(), usize::MAX))
            .unwrap_or_default();
        if from.is_some() {
            storage.writes.push_back((storage.ticket, self.log.last()));
        }
        let hard_state = HardState { term: self.term, vote: self.vote, commit: self.commit };
        effects.push(Effect::Persist {
            ticket: storage.ticket,
            hard_state: hard.then_some(hard_state),
            reset: storage.dirty_reset.then(|| self.log.start().clone()),
            entries,
        });
        storage.commit = if hard { self.commit } else { storage.commit };
        storage.dirty_hard = false;
        storage.dirty_from = None;
        storage.dirty_reset = false;
    }

    /// Tells the owner what it has to know, if it changed.
    fn tell(&mut self, effects: &mut Vec<Effect>) {
        let (role, term, leader) = (self.role(), self.term, self.leader);
        if (role, term, leader) != (self.told.role, self.told.term, self.told.leader) {
            (self.told.role, self.told.term, self.told.leader) = (role, term, leader);
            effects.push(Effect::Role { role, term, leader });
        }
        if self.told.membership != *self.log.membership_in_force() {
            self.told.membership = self.log.membership_in_force().clone();
            effects.push(Effect::MembershipChanged((*self.told.membership).clone()));
        }
        if self.commit > self.told.commit {
            self.told.commit = self.commit;
            effects.push(Effect::Commit { index: self.commit });
        }
    }

    /// Everything up to `ticket` is durable: messages that rested on it go out, and our own copy and
    /// our own vote count.
    fn persisted(&mut self, ctx: Context, ticket: u64) {
        let storage = &mut self.storage;
        assert!(ticket <= storage.ticket, "ticket {ticket} was never given out");
        storage.durable = storage.durable.max(ticket);
        while storage.writes.front().is_some_and(|(ticket, _)| *ticket <= storage.durable) {
            let (_, last) = storage.writes.pop_front().expect("it was just seen");
            storage.stable = storage.stable.max(last);
        }
        let durable = storage.durable;
        for held in std::mem::take(&mut self.held) {
            if held.ticket <= durable {
                self.out.push(Effect::Send { to: held.to, message: held.message });
            } else {
                self.held.push(held);
            }
        }
        match self.state {
            State::Candidate(_) => self.count_own_vote(ctx),
            State::Leader(_) => self.commit_if_reached(ctx),
            _ => {}
        }
    }

    /// Sends a message that rests on nothing but our term and vote.
    fn send(&mut self, to: ReplicaId, body: Body) {
        self.send_after(0, to, body);
    }

    /// Sends a message once `ticket`, and the present term and vote, are durable.
    fn send_after(&mut self, ticket: u64, to: ReplicaId, body: Body) {
        let storage = &self.storage;
        let hard = if storage.dirty_hard { storage.ticket + 1 } else { storage.hard_ticket };
        let ticket = ticket.max(hard);
        let message = Message { term: self.term, time: Reading::default(), body };
        if ticket <= storage.durable {
            self.out.push(Effect::Send { to, message });
        } else {
            self.held.push(Held { ticket, to, message });
        }
    }

    /// Appends an entry of our own term, as its leader.
    fn append_own(
        &mut self,
        ctx: Context,
        kind: EntryKind,
        data: Bytes,
        stamps: u64,
    ) -> (Index, Stamp) {
        let (goal, last) = (self.slew_goal(ctx), self.log.last_stamp());
        let stamp = self.clock.next_of(stamps, ctx.now.mono, goal, last);
        let index = self.log.last().next();
        let entry = Entry { term: self.term, index, stamp, kind, data };
        let State::Leader(leader) = &mut self.state else {
            unreachable!("only a leader appends");
        };
        leader.uncommitted_bytes += entry.cost();
        self.log.push(entry);
        self.storage.dirty_from.get_or_insert(index);
        self.unflushed = true;
        (index, stamp)
    }
}

fn earliest<const N: usize>(deadlines: [Option<Mono>; N]) -> Option<Mono> {
    deadlines.into_iter().flatten().min()
}
