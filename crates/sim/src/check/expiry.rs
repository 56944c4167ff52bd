//! Whether a key lived as long as it was to, and then was gone for good.

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
    /// How far shard time lay behind true time around the SET: it may be made up for at once.
    pub lag_ns: u64,
    /// The looks, in order.
    pub looks: Vec<Look>,
}

/// How far the shard's time may be from true time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// It may run fast by so much, in millionths.
    pub drift_ppm: u64,
    /// It may jump ahead by so much; none if it may jump by anything.
    pub jump_ns: Option<u64>,
}

/// Judges the spells of one key, in order.
pub fn check(spells: &[Spell], clocks: Clocks) -> Result<(), String> {
    for (number, spell) in spells.iter().enumerate() {
        check_gone(spells, number)?;
        check_early(spell, clocks)?;
    }
    Ok(())
}

/// Not gone before its time. The SET's stamp is not before the moment it was asked for; the look's
/// not after its answer came.
fn check_early(spell: &Spell, clocks: Clocks) -> Result<(), String> {
    let (Some(jump_ns), Some(_)) = (clocks.jump_ns, spell.returned) else { return Ok(()) };
    for look in spell.looks.iter().filter(|look| look.value.is_none()) {
        let elapsed = look.returned - spell.invoked;
        let at_most = elapsed + elapsed / 1_000_000 * clocks.drift_ppm + jump_ns + 1_000_000;
        let at_most = at_most + spell.lag_ns;
        if at_most < spell.ttl_ns {
            return Err(format!(
                "value {} was to live {} ms and was gone {} ms after it was set",
                spell.value,
                spell.ttl_ns / 1_000_000,
                elapsed / 1_000_000
            ));
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
    const SANE: Clocks = Clocks { drift_ppm: 1000, jump_ns: Some(10 * MS) };
    const WILD: Clocks = Clocks { drift_ppm: 1000, jump_ns: None };

    fn spell(value: u64, answered: bool, looks: &[(u64, Option<u64>)]) -> Spell {
        let look = |(at, value): &(u64, Option<u64>)| Look {
            invoked: at * MS,
            returned: (at + 1) * MS,
            value: *value,
        };
        Spell {
            value,
            ttl_ns: 100 * MS,
            invoked: 0,
            returned: answered.then_some(MS),
            lag_ns: 0,
            looks: looks.iter().map(look).collect(),
        }
    }

    #[test]
    fn a_key_that_is_gone_early_shows_unless_most_clocks_are_wild() {
        check(&[spell(1, true, &[(50, Some(1)), (120, None)])], SANE).unwrap();
        check(&[spell(1, true, &[(50, None)])], SANE).unwrap_err();
        check(&[spell(1, true, &[(50, None)])], WILD).unwrap();
        check(&[spell(1, false, &[(50, None)])], SANE).unwrap();
        check(&[Spell { lag_ns: 60 * MS, ..spell(1, true, &[(50, None)]) }], SANE).unwrap();
    }

    #[test]
    fn a_key_that_comes_back_shows_whatever_the_clocks() {
        check(&[spell(1, true, &[(120, None), (130, Some(1))])], WILD).unwrap_err();
        check(&[spell(1, false, &[(120, None), (130, Some(1))])], WILD).unwrap();
    }

    #[test]
    fn a_value_that_was_replaced_shows() {
        let first = spell(1, true, &[(50, Some(1))]);
        check(&[first.clone(), spell(2, true, &[(60, Some(1))])], WILD).unwrap_err();
        check(&[first.clone(), spell(2, false, &[(60, Some(1)), (70, Some(2))])], WILD).unwrap();
        check(&[first, spell(2, true, &[(60, Some(9))])], WILD).unwrap_err();
    }
}
