//! Whatever was lost: nobody reads what nobody asked to write.
//!
//! The one thing that can be demanded of registers when disks have lied: values are never used twice
//! and name their client, so a value that comes from nowhere gives itself away.

use super::linear::{Kind, Op};
use std::collections::BTreeMap;

/// The value that a client writes with its request of this number.
pub fn value(client: u64, number: u64) -> u64 {
    (client + 1) << 32 | number
}

/// Judges reads of one register; `asked` has how many values each client used so far.
pub fn check(ops: &[Op], asked: &BTreeMap<u64, u64>) -> Result<(), String> {
    for op in ops {
        let Kind::Read(seen) = op.kind else { continue };
        let (client, number) = (seen >> 32, seen & 0xffff_ffff);
        let used = client.checked_sub(1).and_then(|client| asked.get(&client)).copied();
        if seen != 0 && !(1..=used.unwrap_or(0)).contains(&number) {
            return Err(format!("{seen} was read, and nobody ever asked to write it: {op}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_value_from_nowhere_is_wrong() {
        let asked = [(3, 7)].into();
        let read = |seen| [Op { kind: Kind::Read(seen), invoked: 1, returned: 2 }];
        for fine in [0, value(3, 1), value(3, 7)] {
            assert_eq!(check(&read(fine), &asked), Ok(()));
        }
        for wrong in [1, value(3, 0), value(3, 8), value(2, 1)] {
            assert!(check(&read(wrong), &asked).is_err(), "{wrong}");
        }
    }
}
