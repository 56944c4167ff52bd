//! Whether increments were counted, each at most once.

/// One increment as its client saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Increment {
    /// When it was first asked for.
    pub invoked: u64,
    /// When it was answered; none if it never was.
    pub returned: Option<u64>,
    /// The counter's value after it, if it was answered.
    pub value: u64,
}

/// Judges the increments of one counter and its last value. Without sessions an unanswered one may
/// count or not.
pub fn check(increments: &[Increment], last: u64) -> Result<(), String> {
    let answered = increments.iter().filter(|one| one.returned.is_some()).count() as u64;
    let asked = increments.len() as u64;
    if !(answered..=asked).contains(&last) {
        return Err(format!(
            "{answered} increments were acknowledged and {} more asked for, the counter is {last}",
            asked - answered
        ));
    }
    check_order(increments, last)
}

/// Every answer is another number, and one that follows another in time is larger.
fn check_order(increments: &[Increment], last: u64) -> Result<(), String> {
    let mut values: Vec<u64> =
        increments.iter().filter(|one| one.returned.is_some()).map(|one| one.value).collect();
    values.sort_unstable();
    if let Some(twice) = values.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two increments were answered with {}", twice[0]));
    }
    if values.last().is_some_and(|highest| *highest > last) {
        return Err(format!("an increment was answered with more than the last value {last}"));
    }
    let mut moments: Vec<(u64, bool, u64)> = Vec::new();
    for one in increments {
        if let Some(returned) = one.returned {
            moments.push((one.invoked, false, one.value));
            moments.push((returned, true, one.value));
        }
    }
    moments.sort_unstable();
    let mut reached = 0;
    for (at, returns, value) in moments {
        match returns {
            true => reached = reached.max(value),
            false if value <= reached => {
                return Err(format!(
                    "an increment asked for at {at} was answered with {value}, after {reached} had \
                     been reached"
                ));
            }
            false => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(invoked: u64, returned: u64, value: u64) -> Increment {
        Increment { invoked, returned: Some(returned), value }
    }

    const OPEN: Increment = Increment { invoked: 0, returned: None, value: 0 };

    #[test]
    fn what_was_acknowledged_counts_and_what_was_not_may() {
        let answered = [one(0, 1, 1), one(2, 3, 2)];
        check(&answered, 2).unwrap();
        check(&answered, 1).unwrap_err();
        check(&answered, 3).unwrap_err();
        check(&[answered[0], answered[1], OPEN], 3).unwrap();
        check(&[answered[0], answered[1], OPEN], 4).unwrap_err();
    }

    #[test]
    fn two_answers_are_never_the_same_number() {
        check(&[one(0, 1, 1), one(0, 1, 1), OPEN], 2).unwrap_err();
    }

    #[test]
    fn a_later_increment_is_answered_with_more() {
        check(&[one(0, 1, 2), one(2, 3, 1)], 2).unwrap_err();
        check(&[one(0, 3, 2), one(2, 3, 1)], 2).unwrap();
    }
}
