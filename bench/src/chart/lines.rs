//! Panels of curves, two beside each other: named places on the x axis, a logarithmic y axis.

use super::{Anchor, Svg, WIDTH, short};

/// A panel.
pub struct Panel {
    /// What stands above it.
    pub name: String,
    /// What its x axis shows, and what its y axis.
    pub axes: (String, String),
    /// The places on the x axis.
    pub places: Vec<String>,
    /// Names of colours, and a value for each place; what is not above zero is left out.
    pub curves: Vec<(&'static str, Vec<f64>)>,
}

const HEIGHT: f64 = 230.0;
const GAP: f64 = 16.0;

/// Draws panels, with a legend above them.
pub fn draw(title: &str, about: &str, panels: &[Panel]) -> String {
    let mut svg = Svg::new(title, about);
    legend(&mut svg, panels);
    for row in panels.chunks(2) {
        let top = svg.below();
        for (column, panel) in row.iter().enumerate() {
            one(&mut svg, panel, (column as f64 * WIDTH / 2.0, top));
        }
        svg.grow(HEIGHT + 96.0);
    }
    svg.finish()
}

fn legend(svg: &mut Svg, panels: &[Panel]) {
    let mut names: Vec<&str> = vec![];
    for (name, _) in panels.iter().flat_map(|panel| &panel.curves) {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let (mut x, y) = (16.0, svg.below() + 10.0);
    for name in names {
        svg.bar((x, y - 9.0), (14.0, 9.0), name);
        svg.text((x + 20.0, y), Anchor::Start, "ink", name);
        x += 44.0 + 7.2 * name.len() as f64;
    }
    svg.grow(22.0);
}

fn one(svg: &mut Svg, panel: &Panel, (left, top): (f64, f64)) {
    let (x0, x1) = (left + 62.0, left + WIDTH / 2.0 - GAP);
    let (y0, y1) = (top + 46.0 + HEIGHT, top + 46.0);
    svg.text((left + 16.0, top + 16.0), Anchor::Start, "head", &panel.name);
    svg.text((left + 16.0, top + 32.0), Anchor::Start, "faint", &panel.axes.1);
    let scale = Scale::of(panel);
    let y = |value: f64| y0 - scale.part(value) * (y0 - y1);
    for tick in scale.ticks() {
        svg.line((x0, y(tick)), (x1, y(tick)), "grid");
        svg.text((x0 - 6.0, y(tick) + 4.0), Anchor::End, "faint", &short(tick));
    }
    svg.line((x0, y0), (x1, y0), "axis");
    let step = (x1 - x0) / panel.places.len().max(1) as f64;
    let x = |index: usize| x0 + step * (index as f64 + 0.5);
    for (index, place) in panel.places.iter().enumerate() {
        svg.text((x(index), y0 + 16.0), Anchor::Middle, "faint", place);
    }
    svg.text(((x0 + x1) / 2.0, y0 + 32.0), Anchor::Middle, "faint", &panel.axes.0);
    for (name, values) in &panel.curves {
        let points = values.iter().enumerate().filter(|(_, value)| **value > 0.0);
        let points: Vec<(f64, f64)> = points.map(|(index, value)| (x(index), y(*value))).collect();
        svg.curve(&points, name);
    }
}

/// A logarithmic axis from one round number to another.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(panel: &Panel) -> Scale {
        let values = panel.curves.iter().flat_map(|(_, values)| values).copied();
        let values: Vec<f64> = values.filter(|value| *value > 0.0).collect();
        let least = values.iter().copied().fold(f64::INFINITY, f64::min);
        let most = values.iter().copied().fold(0.0, f64::max);
        if values.is_empty() {
            return Scale { low: 1.0, high: 10.0 };
        }
        let low = 10f64.powf(least.log10().floor());
        Scale { low, high: 10f64.powf(most.log10().ceil()).max(low * 10.0) }
    }

    /// Where a value lies, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        (value / self.low).log10() / (self.high / self.low).log10()
    }

    /// Powers of ten, and their halves and doubles where there are few.
    fn ticks(&self) -> Vec<f64> {
        let powers = (self.high / self.low).log10().round() as i32;
        let digits: &[f64] = if powers <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let tick = |power: i32| digits.iter().map(move |digit| digit * 10f64.powi(power));
        let ticks = (0..=powers).flat_map(tick).map(|part| part * self.low);
        ticks.filter(|tick| *tick <= self.high * 1.001).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::assert_well_formed;
    use super::*;

    fn panel(curves: Vec<(&'static str, Vec<f64>)>) -> Panel {
        Panel {
            name: "set".into(),
            axes: ("percentile".into(), "ms".into()),
            places: ["50", "99", "99.9"].map(String::from).to_vec(),
            curves,
        }
    }

    #[test]
    fn an_axis_holds_all_values() {
        let scale = Scale::of(&panel(vec![("etcd", vec![0.3, 12.0, 80.0])]));
        assert!((scale.low - 0.1).abs() < 1e-9 && (scale.high - 100.0).abs() < 1e-9);
        assert!(scale.part(0.3) > 0.0 && scale.part(80.0) < 1.0);
        let ticks: Vec<String> = scale.ticks().into_iter().map(short).collect();
        assert_eq!(ticks, ["0.1", "1", "10", "100"]);
        let fine = Scale { low: 1.0, high: 10.0 }.ticks();
        assert_eq!(fine.len(), 4);
    }

    #[test]
    fn panels_are_well_formed_whatever_was_measured() {
        for curves in [
            vec![],
            vec![("redis", vec![0.0, 0.0, 0.0])],
            vec![("redis", vec![1.0, 1.0, 1.0]), ("etcd", vec![0.01, 5.0, 9_000.0])],
        ] {
            let svg =
                draw("latency", "", &[panel(curves.clone()), panel(curves.clone()), panel(curves)]);
            assert_well_formed(&svg);
        }
    }
}
