//! Plots as SVG: bars in groups, and panels of curves.
//!
//! A plot carries its own colours for light and dark pages (`prefers-color-scheme`), and a
//! background, so that it can be read wherever it is shown. Colours are those of Okabe and Ito, which
//! most people can tell apart; every bar and curve is named besides.

pub mod bars;
pub mod lines;

use std::fmt::Write;

/// Pixels from left to right.
pub const WIDTH: f64 = 860.0;

/// A picture while it is drawn.
pub struct Svg {
    body: String,
    height: f64,
}

/// How a text is placed at its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// It is centred there.
    Middle,
    /// It ends there.
    End,
}

impl Svg {
    /// A picture with a heading and a line below it.
    pub fn new(title: &str, about: &str) -> Svg {
        let mut svg = Svg { body: String::new(), height: 56.0 };
        svg.text((16.0, 26.0), Anchor::Start, "title", title);
        svg.text((16.0, 46.0), Anchor::Start, "faint", about);
        svg
    }

    /// Where the next thing may be drawn.
    pub fn below(&self) -> f64 {
        self.height
    }

    /// Takes room below what there is.
    pub fn grow(&mut self, by: f64) {
        self.height += by;
    }

    /// A text of a class: `title`, `head`, `ink`, `faint`.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escaped(text)
        ));
    }

    /// A filled box of a colour.
    pub fn bar(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), colour: &str) {
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"2\" \
             class=\"f-{colour}\"/>"
        ));
    }

    /// A line of a class: `grid`, `axis`, or a colour's `s-…`.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        self.add(format_args!(
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        ));
    }

    /// A curve through points, each with a dot.
    pub fn curve(&mut self, points: &[(f64, f64)], colour: &str) {
        let text: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" class=\"s-{colour} curve\"/>",
            text.join(" ")
        ));
        for (x, y) in points {
            self.add(format_args!(
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" class=\"f-{colour}\"/>"
            ));
        }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        writeln!(self.body, "{element}").expect("a String takes everything");
    }

    /// The file.
    pub fn finish(self) -> String {
        let height = self.height + 12.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" \
             width=\"{WIDTH:.0}\" height=\"{height:.0}\">\n<style>\n{}</style>\n\
             <rect width=\"100%\" height=\"100%\" class=\"paper\"/>\n{}</svg>\n",
            style(),
            self.body
        )
    }
}

/// What subjects are drawn in: on light pages, on dark ones.
const COLOURS: [(&str, &str, &str); 8] = [
    ("underpin", "#0072b2", "#56b4e9"),
    ("redis", "#d55e00", "#e8743b"),
    ("redis-everysec", "#c98a00", "#e69f00"),
    ("etcd", "#00845f", "#22b88d"),
    ("zookeeper", "#b04f86", "#cc79a7"),
    ("nats", "#7a5c1e", "#c2a35a"),
    ("nats-always", "#5c4fa3", "#9d8fe0"),
    ("echo", "#767676", "#a0a0a0"),
];

/// Classes for light pages, and what differs on dark ones.
fn style() -> String {
    let mut style = String::from(
        "text{font:12px system-ui,'DejaVu Sans',sans-serif}\n.title{font-size:17px;font-weight:600}\n\
         .head{font-size:13px;font-weight:600}\n.title,.head,.ink{fill:#1f2328}\n.faint{fill:#59636e}\n\
         .paper{fill:#ffffff}\n.grid{stroke:#d8dee4}\n.axis{stroke:#8c959f}\n\
         .curve{fill:none;stroke-width:2}\n.whisker{stroke:#1f2328;stroke-width:1.5}\n",
    );
    let mut dark = String::from(
        ".title,.head,.ink{fill:#f0f3f6}\n.faint{fill:#9ea7b3}\n.paper{fill:#0d1117}\n\
         .grid{stroke:#2d333b}\n.axis{stroke:#7a828e}\n.whisker{stroke:#f0f3f6}\n",
    );
    for (name, light, on_dark) in COLOURS {
        for (sheet, colour) in [(&mut style, light), (&mut dark, on_dark)] {
            writeln!(sheet, ".f-{name}{{fill:{colour}}}\n.s-{name}{{stroke:{colour}}}")
                .expect("a String takes everything");
        }
    }
    format!("{style}@media (prefers-color-scheme: dark){{\n{dark}}}\n")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A number in few signs: 1.2 k, 35, 0.004.
pub fn short(number: f64) -> String {
    let (number, unit) = match number.abs() {
        n if n >= 1e6 => (number / 1e6, " M"),
        n if n >= 1e4 => (number / 1e3, " k"),
        _ => (number, ""),
    };
    let digits = match number.abs() {
        n if n >= 100.0 || n == 0.0 => 0,
        n if n >= 10.0 => 1,
        n if n >= 1.0 => 2,
        n => (1.0 - n.log10()).ceil().min(6.0) as usize,
    };
    let text = format!("{number:.digits$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{unit}")
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Whether tags nest as they should, attributes are quoted and no number is missing.
    pub fn assert_well_formed(svg: &str) {
        let mut open: Vec<String> = vec![];
        let mut rest = svg;
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('>') || open.last().is_some_and(|tag| tag == "style"));
            let end = rest[at..].find('>').expect("a tag that ends") + at;
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
                continue;
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap_or_default().to_owned());
            }
        }
        assert!(open.is_empty() && rest.trim().is_empty(), "{open:?}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "a number is missing");
    }

    #[test]
    fn numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.0042, "0.0042"),
            (1.0, "1"),
            (2.5, "2.5"),
            (36.04, "36"),
            (500.0, "500"),
            (1_234.0, "1234"),
            (36_558.0, "36.6 k"),
            (100_000.0, "100 k"),
            (1_500_000.0, "1.5 M"),
        ] {
            assert_eq!(short(number), text);
        }
    }

    #[test]
    fn names_cannot_break_out() {
        let mut svg = Svg::new("a < b & \"c\"", "");
        svg.grow(10.0);
        let svg = svg.finish();
        assert_well_formed(&svg);
        assert!(svg.contains("a &lt; b &amp; &quot;c&quot;"));
    }
}
