//! Bars in groups: a group for each case, a bar for each subject, with its spread over the turns.

use super::{Anchor, Svg, WIDTH, short};
use crate::spread::Spread;

/// A case with its bars.
pub struct Group {
    /// What stands above it.
    pub name: String,
    /// Subjects and what was measured.
    pub bars: Vec<(&'static str, Spread)>,
}

const LEFT: f64 = 130.0;
const RIGHT: f64 = 120.0;
const ROW: f64 = 22.0;

/// Draws groups, each with an axis of its own, since cases differ by orders of magnitude.
pub fn draw(title: &str, about: &str, groups: &[Group]) -> String {
    let mut svg = Svg::new(title, about);
    for group in groups {
        one(&mut svg, group);
    }
    svg.finish()
}

fn one(svg: &mut Svg, group: &Group) {
    let top = svg.below() + 22.0;
    let bottom = top + 8.0 + ROW * group.bars.len() as f64;
    svg.text((16.0, top), Anchor::Start, "head", &group.name);
    let most = group.bars.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max);
    let step = nice(most / 4.0);
    let scale = (WIDTH - LEFT - RIGHT) / most.max(step);
    for tick in 0..=(most / step) as u32 {
        let value = f64::from(tick) * step;
        let x = LEFT + value * scale;
        svg.line((x, top + 8.0), (x, bottom), if tick == 0 { "axis" } else { "grid" });
        svg.text((x, bottom + 14.0), Anchor::Middle, "faint", &short(value));
    }
    for (index, (name, spread)) in group.bars.iter().enumerate() {
        let y = top + 11.0 + ROW * index as f64;
        let x = |value: f64| LEFT + value * scale;
        svg.text((LEFT - 8.0, y + 12.0), Anchor::End, "ink", name);
        svg.bar((LEFT, y), ((spread.median * scale).max(1.0), ROW - 6.0), name);
        if spread.high > spread.low {
            let middle = y + (ROW - 6.0) / 2.0;
            svg.line((x(spread.low), middle), (x(spread.high), middle), "whisker");
        }
        let end = x(spread.high.max(spread.median)) + 6.0;
        svg.text((end, y + 12.0), Anchor::Start, "ink", &short(spread.median));
    }
    svg.grow(bottom + 24.0 - svg.below());
}

/// The round number (1, 2 or 5 times a power of ten) at or above; 1 for nothing.
fn nice(number: f64) -> f64 {
    if number <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(number.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|digit| digit * power)
        .into_iter()
        .find(|n| *n >= number * 0.999)
        .unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_well_formed;
    use super::*;

    #[test]
    fn steps_are_round() {
        for (number, step) in
            [(0.0, 1.0), (0.7, 1.0), (1.0, 1.0), (17_000.0, 20_000.0), (0.021, 0.05)]
        {
            assert!((nice(number) - step).abs() < step * 1e-9, "{number}");
        }
    }

    #[test]
    fn bars_are_well_formed_whatever_was_measured() {
        let bar = |median: f64| Spread { median, low: median / 2.0, high: median * 2.0 };
        let group = |values: &[f64]| Group {
            name: "set <64x1>".into(),
            bars: values.iter().map(|value| ("underpin", bar(*value))).collect(),
        };
        for values in [&[][..], &[0.0], &[0.001, 1e7], &[36_558.0, 71_700.0]] {
            let svg = draw("ops/s", "medians", &[group(values), group(values)]);
            assert_well_formed(&svg);
            assert_eq!(svg.matches("class=\"f-underpin\"").count(), values.len() * 2);
        }
    }
}
