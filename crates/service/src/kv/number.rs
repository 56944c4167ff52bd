//! Numbers as texts, the way Redis reads them: strictly. An integer has one text only (no plus, no
//! spaces, no leading zeros), so that a counter's value stays what was counted.
//!
//! Decimal numbers are added exactly, digit by digit, where Redis adds binary floating point and
//! rounds to 17 digits: `0.1` ten times is `1`, and three replicas on different processors agree.
//! A number may have up to [`DIGITS_MAX`] digits on either side of its point.

use base::Refusal;
use std::cmp::Ordering;

/// Digits before and digits after the point of a decimal number.
pub const DIGITS_MAX: usize = 512;
/// Longest text of a decimal number that is looked at.
const TEXT_BYTES_MAX: usize = 4096;

/// The integer that `text` is, or `None`.
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    digits.iter().try_fold(0i64, |value, digit| {
        if !digit.is_ascii_digit() {
            return None;
        }
        let digit = i64::from(digit - b'0');
        value.checked_mul(10)?.checked_add(if negative { -digit } else { digit })
    })
}

/// Adds two decimal texts.
pub(super) fn add_decimal(a: &[u8], b: &[u8]) -> Result<Vec<u8>, Refusal> {
    let (a, b) = match (Decimal::parse(a), Decimal::parse(b)) {
        // Redis finds out that an argument is no number before it minds an infinite one.
        (_, Err(Refusal::NotANumber)) => return Err(Refusal::NotANumber),
        (a, b) => (a?, b?),
    };
    Ok(a.plus(b)?.text())
}

/// Whether `text` is a number that [`Op::AddDecimal`](super::Op::AddDecimal) takes.
pub fn check_decimal(text: &[u8]) -> Result<(), Refusal> {
    Decimal::parse(text).map(|_| ())
}

/// `digits` (0 to 9, most significant first) with the last `scale` of them after the point.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    scale: usize,
}

impl Decimal {
    fn parse(text: &[u8]) -> Result<Decimal, Refusal> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Refusal::NotANumber);
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Err(Refusal::Overflow);
        }
        let (whole, rest) = take_digits(rest);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => take_digits(rest),
            rest => (&[][..], rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(Refusal::NotANumber);
        }
        let exponent = parse_exponent(rest)?;
        let digits = whole.iter().chain(fraction).map(|digit| digit - b'0').collect();
        Decimal::of(negative, digits, fraction.len() as i64 - exponent)
    }

    /// `digits` with the point `scale` places from their end, on either side.
    fn of(negative: bool, mut digits: Vec<u8>, mut scale: i64) -> Result<Decimal, Refusal> {
        let zeros = digits.iter().take_while(|digit| **digit == 0).count();
        digits.drain(..zeros);
        while digits.last() == Some(&0) {
            digits.pop();
            scale -= 1;
        }
        if digits.is_empty() {
            return Ok(Decimal { negative: false, digits, scale: 0 });
        }
        if digits.len() as i64 - scale > DIGITS_MAX as i64 {
            return Err(Refusal::Overflow);
        }
        if scale > DIGITS_MAX as i64 {
            return Err(Refusal::NotANumber);
        }
        if scale < 0 {
            digits.resize(digits.len() + scale.unsigned_abs() as usize, 0);
        }
        Ok(Decimal { negative, digits, scale: scale.max(0) as usize })
    }

    fn plus(self, other: Decimal) -> Result<Decimal, Refusal> {
        let scale = self.scale.max(other.scale);
        let (signs, other_sign) = (self.negative, other.negative);
        let (a, b) = align(self, other, scale);
        let (negative, digits) = match (signs == other_sign, a.cmp(&b)) {
            (true, _) => (signs, sum(&a, &b)),
            (false, Ordering::Less) => (other_sign, difference(&b, &a)),
            (false, _) => (signs, difference(&a, &b)),
        };
        Decimal::of(negative, digits, scale as i64)
    }

    fn text(self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.digits.len() + 3);
        if self.negative {
            text.push(b'-');
        }
        let whole = self.digits.len().saturating_sub(self.scale);
        text.extend(self.digits[..whole].iter().map(|digit| digit + b'0'));
        if whole == 0 {
            text.push(b'0');
        }
        if self.scale > 0 {
            text.push(b'.');
            text.extend(std::iter::repeat_n(b'0', self.scale - (self.digits.len() - whole)));
            text.extend(self.digits[whole..].iter().map(|digit| digit + b'0'));
        }
        text
    }
}

fn take_digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// What follows the digits: nothing, or `e` with an integer. Far exponents are all the same to us.
fn parse_exponent(text: &[u8]) -> Result<i64, Refusal> {
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b'e' | b'E', b'-', digits @ ..] => (true, digits),
        [b'e' | b'E', b'+', digits @ ..] => (false, digits),
        [b'e' | b'E', digits @ ..] => (false, digits),
        _ => return Err(Refusal::NotANumber),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::NotANumber);
    }
    let far = TEXT_BYTES_MAX as i64 * 4;
    let value = digits.iter().fold(0, |value, digit| far.min(value * 10 + i64::from(digit - b'0')));
    Ok(if negative { -value } else { value })
}

/// Both numbers' digits, with the same point and the same length.
fn align(a: Decimal, b: Decimal, scale: usize) -> (Vec<u8>, Vec<u8>) {
    let whole = (a.digits.len() - a.scale.min(a.digits.len()))
        .max(b.digits.len() - b.scale.min(b.digits.len()));
    let pad = |number: Decimal| {
        let mut digits = number.digits;
        digits.resize(digits.len() + scale - number.scale, 0);
        let mut all = vec![0; (whole + scale) - digits.len()];
        all.append(&mut digits);
        all
    };
    (pad(a), pad(b))
}

fn sum(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(a.len() + 1);
    let mut carry = 0;
    for (x, y) in a.iter().zip(b).rev() {
        let digit = x + y + carry;
        out.push(digit % 10);
        carry = digit / 10;
    }
    out.push(carry);
    out.reverse();
    out
}

/// `a` minus `b`, which is not larger.
fn difference(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(a.len());
    let mut borrow = 0;
    for (x, y) in a.iter().zip(b).rev() {
        let digit = 10 + x - y - borrow;
        out.push(digit % 10);
        borrow = u8::from(digit < 10);
    }
    assert!(borrow == 0, "a larger number was subtracted from a smaller one");
    out.reverse();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_one_text() {
        for good in ["0", "7", "-7", "10", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(parse_integer(good.as_bytes()), good.parse().ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "-0",
            "+1",
            "01",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "1e3",
            "9223372036854775808",
            "-9223372036854775809",
            "10000000000000000000",
            "00",
            "--1",
        ] {
            assert_eq!(parse_integer(bad.as_bytes()), None, "{bad}");
        }
    }

    fn add(a: &str, b: &str) -> Result<String, Refusal> {
        add_decimal(a.as_bytes(), b.as_bytes()).map(|text| String::from_utf8(text).unwrap())
    }

    #[test]
    fn decimals_are_added_exactly() {
        for (a, b, sum) in [
            ("0.1", "0.2", "0.3"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("-1", "1", "0"),
            ("-0.5", "0.25", "-0.25"),
            ("0.25", "-0.5", "-0.25"),
            ("-1.5", "-1.5", "-3"),
            ("999.9", ".1", "1000"),
            ("1000", "-0.001", "999.999"),
            ("1.", "+1", "2"),
            ("1e-20", "1", "1.00000000000000000001"),
            ("0e99999", "00012", "12"),
            ("0.00", "-0", "0"),
            ("100", "0", "100"),
            ("1E2", "1e+2", "200"),
        ] {
            assert_eq!(add(a, b).as_deref(), Ok(sum), "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for bad in ["", " 1", "1 ", "a", "1a", ".", "-", "1e", "e1", "1e+", "nan", "1..2", "1_0"] {
            assert_eq!(add(bad, "1"), Err(Refusal::NotANumber), "{bad:?}");
        }
        for large in ["inf", "-INF", "+infinity", "1e600", "1e99999999999999999999"] {
            assert_eq!(add(large, "1"), Err(Refusal::Overflow), "{large}");
        }
        assert_eq!(add("1e-600", "1"), Err(Refusal::NotANumber));
        let nines = "9".repeat(DIGITS_MAX);
        assert_eq!(add(&nines, "0"), Ok(nines.clone()));
        assert_eq!(add(&nines, "1"), Err(Refusal::Overflow));
    }

    /// Against 128-bit integers: numbers with up to nine digits after the point.
    #[test]
    fn random_sums_agree_with_integers() {
        let mut random = base::Random::new(3);
        for _ in 0..5_000 {
            let mut draw = || random.u64() as i64 >> random.below(60);
            let (a, b) = (draw(), draw());
            let text = |n: i128| {
                let (whole, rest) = (n.unsigned_abs() / 1_000, n.unsigned_abs() % 1_000);
                let text = format!("{}{whole}.{rest:03}", if n < 0 { "-" } else { "" });
                text.trim_end_matches('0').trim_end_matches('.').to_string()
            };
            let (a, b) = (i128::from(a), i128::from(b));
            assert_eq!(add(&text(a), &text(b)), Ok(text(a + b)));
        }
    }
}
