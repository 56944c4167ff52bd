//! Marks of what a run has seen: every fault, and every state that is worth reaching.
//!
//! A world that never fills a disk proves nothing about full disks, and nobody notices. So each fault
//! leaves a mark where it is *felt* (a sector is torn when a crash kept a part of what was written,
//! not when somebody drew "power loss"), and so does each state that a bug may hide behind: a suffix
//! that had to be cut off, a leader that lost its lease and got it back. A campaign adds the marks of
//! its seeds and names those that it never saw.
//!
//! Names are stable: kept results refer to them. The idea is Antithesis' "sometimes" assertions and
//! TigerBeetle's marks.

macro_rules! marks {
    ($($mark:ident $name:literal $about:literal)*) => {
        /// Something that some run should see.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $(#[doc = $about] $mark,)*
        }

        impl Mark {
            /// All of them, in the order of reports.
            pub const ALL: &'static [Mark] = &[$(Mark::$mark),*];

            /// The name, which stays.
            pub fn name(self) -> &'static str {
                match self { $(Mark::$mark => $name),* }
            }

            /// What was seen.
            pub fn about(self) -> &'static str {
                match self { $(Mark::$mark => $about),* }
            }
        }
    };
}

marks! {
    PowerLost "power-lost" "the power of one node failed"
    AllPowerLost "all-power-lost" "the power of all nodes failed at once"
    Killed "killed" "a process was killed, and its machine went on"
    DiedInTurn "died-in-turn" "a process died while it carried out a turn's effects"
    Stopped "stopped" "a node stopped in good order"
    Paused "paused" "a process stood still"
    Isolated "isolated" "a node was cut off from all others"
    Halved "halved" "the nodes fell into two halves"
    Bridged "bridged" "two halves saw each other through one node only"
    CutOneWay "cut-one-way" "nothing got through from one node to another"
    Cornered "cornered" "a new leader was left with one other node"
    Deafened "deafened" "nothing reached a new leader"
    Muted "muted" "nothing that one node sent got through"
    LinksReset "links-reset" "links between nodes broke"
    LeaderAlone "leader-alone" "a leader was cut off while all others started anew"
    ClockStepped "clock-stepped" "a wall clock was set"
    TornSector "torn-sector" "a crash kept some of the sectors that were not synced and lost others"
    NameLost "name-lost" "a crash lost a change of a directory that was not synced"
    GrowthLost "growth-lost" "a crash lost a file's growth that was not synced"
    TornTailCut "torn-tail-cut" "a start found a torn tail of the log and cut it off"
    SyncFailed "sync-failed" "a sync of the log failed, and the process ended"
    ReadFailed "read-failed" "a read of the disk failed, and the process ended or did not start"
    LogFlipFound "log-flip-found" "a bit that flipped in the log was found at the start"
    TableFlipFound "table-flip-found" "a bit that flipped in a table was found by a read"
    MisdirectedFound "misdirected-found" "a write that landed elsewhere was found at the start"
    DiskSlow "disk-slow" "a disk was slow"
    DiskFull "disk-full" "a log had no room for what was to be written"
    TablesFull "tables-full" "a memtable could not be written out for want of room"
    LogBlocked "log-blocked" "a log had used up its reserve, and records waited for room"
    WriteRefusedFull "write-refused-full" "a write was refused since the disk is full"
    DeletePassedFull "delete-passed-full" "a delete was done while most disks were full"
    LeaderLeftFull "leader-left-full-disk" "a leader whose disk stayed full handed its shards over"
    ReserveLent "reserve-lent" "the tables' reserve was lent to a flush, a merge or the log"
    ReserveWhole "reserve-whole-again" "the tables' reserve was whole again after it had been lent"
    SnapshotRefusedFull "snapshot-refused-full" "a full disk refused a snapshot larger than a memtable"
    RoomMade "room-made" "a node on a full disk made room for itself, while others held the rest"
    RoomBack "room-back" "a node that had a full disk has room again"
    DiskLost "disk-lost" "a disk was lost with all that it held"
    DamagedReplaced "damaged-replaced" "a node that found its disk damaged was given a new one"
    NodeReplaced "node-replaced" "the cluster pinned the new incarnation of a node"
    ReplacedVotes "replaced-votes" "the replica of a replaced node caught up and votes"
    RolledBack "rolled-back" "a disk was put back to an old image (beyond what is promised)"
    TooManyLost "too-many-lost" "more disks were lost than the cluster stands (beyond what is promised)"
    ConnCutInRequest "conn-cut-in-request" "a client's connection broke between two bytes of a request"
    ConnCutInReply "conn-cut-in-reply" "a client's connection broke between two bytes of an answer"
    LeaderElected "leader-elected" "a replica came to lead a shard in a new term"
    TransferDone "transfer-done" "a leadership went where somebody wanted it"
    TransferRefused "transfer-refused" "a wish for another leader was refused"
    SuffixCut "conflicting-suffix-truncated" "entries were replaced by those of a newer leader"
    SnapshotInstalled "snapshot-installed" "a replica was sent the state whole"
    JointEntered "joint-entered" "a membership change had two majorities"
    JointLeft "joint-left" "a membership change came to its end"
    ReadByLease "read-by-lease" "a leader answered a read by itself"
    ReadByRound "read-by-round" "a leader without a lease asked a majority before it answered"
    ReadRefused "stale-lease-read-refused" "a read was refused since its leader turned out to be none"
    LeaseRegained "support-lost-and-regained" "a leader lost its lease and got it back within its term"
    TimeByAllClocks "time-by-all-clocks" "a leader stepped shard time to all voters' clocks"
    TimeByQuorum "time-by-quorum" "a leader stepped shard time to the clocks of a bare quorum"
    Flushed "flushed" "a memtable became a table"
    Fetched "fetched" "rows were read from tables"
    Compacted "compacted" "tables were merged"
    NotDoneAnswered "not-done-answered" "a client was told that its request did not happen"
    UnknownAnswered "unknown-answered" "a client was told that its request may have happened"
    ClientGaveUp "client-gave-up" "a client waited no longer for its answer"
    OnceRepeated "once-repeated-answered" "a repeated request was answered, and counted once"
    CasConflict "cas-conflict" "a write that compared versions found another one"
    Pipelined "pipelined" "a client had several requests under way on one connection"
    PipelineAtOnce "pipeline-answered-at-once" "several answers of a pipeline came in one piece"
    PipelineCut "pipeline-cut" "a pipeline was answered in part when its connection ended"
    RealTables "real-tables" "a world ran on lsm-tree"
}

/// How often each mark was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marks([u64; Mark::ALL.len()]);

impl Default for Marks {
    fn default() -> Marks {
        Marks([0; Mark::ALL.len()])
    }
}

impl Marks {
    /// It was seen.
    pub fn hit(&mut self, mark: Mark) {
        self.0[mark as usize] += 1;
    }

    /// It was seen so many times.
    pub fn hits(&mut self, mark: Mark, times: u64) {
        self.0[mark as usize] += times;
    }

    /// How often it was seen.
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize]
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Marks) {
        for (count, more) in self.0.iter_mut().zip(&other.0) {
            *count += more;
        }
    }

    /// All marks with their counts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (Mark, u64)> + '_ {
        Mark::ALL.iter().map(|mark| (*mark, self.count(*mark)))
    }

    /// Those never seen.
    pub fn unseen(&self) -> impl Iterator<Item = Mark> + '_ {
        self.iter().filter(|(_, count)| *count == 0).map(|(mark, _)| mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn marks_add_up_and_have_names_of_their_own() {
        let names: BTreeSet<&str> = Mark::ALL.iter().map(|mark| mark.name()).collect();
        assert_eq!(names.len(), Mark::ALL.len());
        let (mut one, mut other) = (Marks::default(), Marks::default());
        one.hit(Mark::TornSector);
        other.hits(Mark::TornSector, 2);
        other.hit(Mark::Flushed);
        one.add(&other);
        assert_eq!((one.count(Mark::TornSector), one.count(Mark::Flushed)), (3, 1));
        assert_eq!(one.unseen().count(), Mark::ALL.len() - 2);
    }
}
