//! Whether money is conserved: accounts begin empty, transfers move money between two of them and may
//! overdraw one. Whoever looks at all accounts at once sees nothing in sum.
//!
//! A transfer that is torn, done by half, or that overwrites one it has not seen shows at the next
//! look.

/// All accounts, looked at once.
pub type Look = Vec<i64>;

/// How many looks saw that money had been moved, or what was wrong.
pub fn check(looks: &[Look]) -> Result<u64, String> {
    for look in looks {
        let total: i64 = look.iter().sum();
        if total != 0 {
            return Err(format!("the accounts hold {total} together: {look:?}"));
        }
    }
    Ok(looks.iter().filter(|look| look.iter().any(|balance| *balance != 0)).count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_moved_and_not_made() {
        assert_eq!(check(&[vec![0, 0, 0], vec![-5, 5, 0], vec![-5, 2, 3]]), Ok(2));
        check(&[vec![-5, 5, 0], vec![-5, 5, 3]]).unwrap_err();
        check(&[vec![0, 5, 0]]).unwrap_err();
    }
}
