//! What a quorum has reached. One function answers every such question: how far the log is
//! replicated, how long the lease lasts, whether an election is won, whether a read round is over.

use base::{Membership, NodeId, ReplicaId};
use std::collections::BTreeMap;

/// The highest value that a majority of the voters has reached; during a joint change, a majority of
/// the old and of the new ones. With no voters nothing was reached: the default value.
///
/// ```text
/// voters at 5 7 9        ->  7
/// and outgoing at 5 5 9  ->  5
/// ```
pub fn reached<T: Ord + Copy + Default>(
    membership: &Membership,
    of: impl Fn(ReplicaId, NodeId) -> T,
) -> T {
    let incoming = majority(&membership.voters, &of);
    if membership.is_joint() { incoming.min(majority(&membership.outgoing, &of)) } else { incoming }
}

/// So many voters are counted without asking for memory, several times a turn.
const FEW: usize = 9;

fn majority<T: Ord + Copy + Default>(
    voters: &BTreeMap<ReplicaId, NodeId>,
    of: &impl Fn(ReplicaId, NodeId) -> T,
) -> T {
    // Sorted on purpose, on every call: a scan of progress that is assumed to be in order is how
    // two of five came to commit elsewhere.
    let all = voters.iter().map(|(replica, node)| of(*replica, *node));
    let (mut few, mut many) = ([T::default(); FEW], Vec::new());
    let values = if voters.len() <= FEW {
        few.iter_mut().zip(all).for_each(|(place, value)| *place = value);
        &mut few[..voters.len()]
    } else {
        many.extend(all);
        &mut many[..]
    };
    values.sort_unstable();
    values.reverse();
    values.get(voters.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(ids: &[u64]) -> BTreeMap<ReplicaId, NodeId> {
        ids.iter().map(|&id| (ReplicaId(id), NodeId(id))).collect()
    }

    #[test]
    fn a_majority_has_reached_its_lowest_member() {
        for (ids, expected) in [
            (&[1][..], 10),
            (&[1, 2], 10),
            (&[1, 2, 3], 20),
            (&[1, 2, 3, 4], 20),
            (&[1, 2, 3, 4, 5], 30),
            (&[], 0),
        ] {
            let membership = Membership { voters: voters(ids), ..Membership::default() };
            assert_eq!(reached(&membership, |id, _| id.0 * 10), expected, "{ids:?}");
        }
    }

    #[test]
    fn a_joint_change_needs_both_majorities() {
        let membership = Membership {
            voters: voters(&[1, 2, 3]),
            outgoing: voters(&[3, 4, 5]),
            ..Membership::default()
        };
        assert!(!reached(&membership, |id, _| id.0 <= 3), "one of the old");
        assert!(!reached(&membership, |id, _| id.0 >= 3), "one of the new");
        assert!(reached(&membership, |id, _| id.0 >= 2 && id.0 <= 4));
    }
}
