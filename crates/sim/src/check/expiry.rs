//! Whether a key lived as long as it was to, and then was gone for good.
//!
//! A leader's shard time may run fast by the slew and by what its monotonic clock is wrong. So a key
//! that was acknowledged may be gone that part of its life early, and no more: delays of messages
//! make shard time slower, never faster.
//!
//! One thing can move shard time ahead at once: a *step*, by a leader who found no replica that had
//! kept it, because all that voted for it were restarted. Then the lag is made up for that the key was
//! stamped with. How much is what the caller measured, or "anything" if wrong clocks were believed.
//! Ends that only this excuses are counted.

/// What one look at the key saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// When it was asked for.
    pub invoked: u64,
    /// When the answer came.
    pub returned: u64,
    /// The value; none if the key was gone.
    pub value: Option<u64>,
}

/// Ends of keys are given in milliseconds.
const ROUNDING_NS: u64 = 1_000_000;

/// The life of one value, from the SET to the next one, with the looks at it in between. One client
/// does all of it, one thing after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spell {
    /// The value.
    pub value: u64,
    /// How long it was to live.
    pub ttl_ns: u64,
    /// When the SET was asked for.
    pub invoked: u64,
    /// When it was acknowledged; none if it never was, and may have happened at any time since.
    pub returned: Option<u64>,
    /// How far shard time lay behind true time around the SET, which a step may make up for; none if
    /// clocks that it went by were wrong by more than can be told.
    pub lag_ns: Option<u64>,
    /// The looks, in order.
    pub looks: Vec<Look>,
}

/// How the shard's time went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardTime {
    /// It may run fast by so much, in millionths.
    pub fast_ppm: u64,
    /// When it may have stepped, in order.
    pub steps: Vec<u64>,
    /// How far ahead of true time a step may take it.
    pub ahead_ns: u64,
}

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// Ends of keys that were seen and had their time, whatever shard time did.
    pub ends: u64,
    /// Ends that came early beside a step.
    pub excused: u64,
}

impl Judged {
    /// Adds what was judged elsewhere.
    pub fn add(&mut self, other: Judged) {
        self.ends += other.ends;
        self.excused += other.excused;
    }
}

/// Judges the spells of one key, in order.
pub fn check(spells: &[Spell], time: &ShardTime) -> Result<Judged, String> {
    let mut judged = Judged::default();
    for (number, spell) in spells.iter().enumerate() {
        check_gone(spells, number)?;
        check_early(spell, time, &mut judged)?;
    }
    Ok(judged)
}

/// Not gone before its time. The SET's stamp is not before the moment it was asked for; the look's
/// not after its answer came.
fn check_early(spell: &Spell, time: &ShardTime, judged: &mut Judged) -> Result<(), String> {
    if spell.returned.is_none() {
        return Ok(());
    }
    for look in spell.looks.iter().filter(|look| look.value.is_none()) {
        let elapsed = look.returned - spell.invoked;
        let at_most = elapsed + elapsed * time.fast_ppm / 1_000_000 + ROUNDING_NS;
        let missing = spell.ttl_ns.saturating_sub(at_most);
        let window = spell.invoked..=look.returned;
        let stepped = time.steps.iter().any(|at| window.contains(at));
        let lag = spell.lag_ns.map_or(u64::MAX, |lag| lag + time.ahead_ns);
        match missing {
            0 => judged.ends += 1,
            _ if stepped && missing <= lag => judged.excused += 1,
            _ => {
                return Err(format!(
                    "value {} was to live {} ms and was gone {} ms after it was set{}",
                    spell.value,
                    spell.ttl_ns / 1_000_000,
                    elapsed / 1_000_000,
                    if stepped { ", beside a step" } else { "" }
                ));
            }
        }
    }
    Ok(())
}

/// Once seen gone, never seen again; nor is a value that another one replaced.
fn check_gone(spells: &[Spell], number: usize) -> Result<(), String> {
    let spell = &spells[number];
    let mut gone = false;
    for look in &spell.looks {
        match look.value {
            // An unacknowledged SET may take effect after a look that saw nothing.
            None => gone = spell.returned.is_some(),
            Some(value) if value == spell.value => {
                if gone {
                    return Err(format!("value {value} was gone and came back"));
                }
            }
            Some(value) => check_older(spells, number, value)?,
        }
    }
    Ok(())
}

/// A look in this spell saw another spell's value.
fn check_older(spells: &[Spell], number: usize, value: u64) -> Result<(), String> {
    let Some(origin) = spells[..number].iter().position(|spell| spell.value == value) else {
        return Err(format!("value {value} was never set"));
    };
    // Every SET since then was unanswered, or else it took this value's place. Unless this value's
    // own SET was never answered: then it may have been late.
    let replaced = spells[origin + 1..=number].iter().any(|spell| spell.returned.is_some());
    let first = &spells[origin];
    if replaced && first.returned.is_some() {
        return Err(format!("value {value} was replaced and came back"));
    }
    let gone = first.looks.iter().any(|look| look.value.is_none());
    if gone && first.returned.is_some() {
        return Err(format!("value {value} was gone and came back"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn steady() -> ShardTime {
        ShardTime { fast_ppm: 8000, steps: Vec::new(), ahead_ns: 0 }
    }

    fn stepped(at_ms: u64) -> ShardTime {
        ShardTime { steps: vec![at_ms * MS], ahead_ns: 10 * MS, ..steady() }
    }

    fn spell(value: u64, answered: bool, looks: &[(u64, Option<u64>)]) -> Spell {
        let look = |(at, value): &(u64, Option<u64>)| Look {
            invoked: at * MS,
            returned: (at + 1) * MS,
            value: *value,
        };
        Spell {
            value,
            ttl_ns: 1000 * MS,
            invoked: 0,
            returned: answered.then_some(MS),
            lag_ns: Some(0),
            looks: looks.iter().map(look).collect(),
        }
    }

    #[test]
    fn a_key_that_is_gone_early_shows() {
        let fine = check(&[spell(1, true, &[(500, Some(1)), (1000, None)])], &steady()).unwrap();
        assert_eq!(fine, Judged { ends: 1, excused: 0 });
        check(&[spell(1, true, &[(950, None)])], &steady()).unwrap_err();
        // By the slew it may be eight thousandths early.
        check(&[spell(1, true, &[(991, None)])], &steady()).unwrap();
        check(&[spell(1, true, &[(989, None)])], &steady()).unwrap_err();
        // Nobody knows when a SET without an answer took effect.
        let unknown = check(&[spell(1, false, &[(500, None)])], &steady()).unwrap();
        assert_eq!(unknown, Judged::default());
    }

    #[test]
    fn only_a_step_in_its_life_excuses_a_key_and_only_by_the_lag() {
        let lagging =
            |lag_ms, at| Spell { lag_ns: Some(lag_ms * MS), ..spell(1, true, &[(at, None)]) };
        let excused = Ok(Judged { ends: 0, excused: 1 });
        assert_eq!(check(&[lagging(400, 600)], &stepped(300)), excused);
        check(&[lagging(400, 500)], &stepped(300)).unwrap_err();
        check(&[lagging(400, 600)], &stepped(700)).unwrap_err();
        check(&[lagging(400, 600)], &steady()).unwrap_err();
        let wild = Spell { lag_ns: None, ..spell(1, true, &[(5, None)]) };
        assert_eq!(check(std::slice::from_ref(&wild), &stepped(3)), excused);
        check(&[wild], &steady()).unwrap_err();
    }

    #[test]
    fn a_key_that_comes_back_shows_whatever_time_did() {
        let back = [(1200, None), (1300, Some(1))];
        check(&[spell(1, true, &back)], &stepped(1250)).unwrap_err();
        check(&[spell(1, false, &back)], &steady()).unwrap();
    }

    #[test]
    fn a_value_that_was_replaced_shows() {
        let first = spell(1, true, &[(50, Some(1))]);
        check(&[first.clone(), spell(2, true, &[(60, Some(1))])], &steady()).unwrap_err();
        check(&[first.clone(), spell(2, false, &[(60, Some(1)), (70, Some(2))])], &steady())
            .unwrap();
        check(&[first, spell(2, true, &[(60, Some(9))])], &steady()).unwrap_err();
    }
}
