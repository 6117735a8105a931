//! Percentile plots as SVG files that need nothing else: the percentile on an axis of 1/(1-p), so that
//! each nine has the same room, latency on a logarithmic axis.

use std::fmt::Write;

use crate::histogram::Curve;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 560.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 64.0;
/// Colours that those with a weak sense of colour tell apart (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999933",
];

/// Text inside XML.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// Where values lie on the paper.
struct Axes {
    /// Decades of 1/(1-p).
    nines: f64,
    /// Decimal logarithms of the least and greatest microsecond.
    low: f64,
    high: f64,
}

impl Axes {
    fn of(curves: &[&Curve]) -> Self {
        let mut least = f64::INFINITY;
        let (mut most, mut count) = (0f64, 1u64);
        for curve in curves {
            least = least.min(micros(curve.histogram.min()));
            most = most.max(micros(curve.histogram.max()));
            count = count.max(curve.histogram.len());
        }
        if !least.is_finite() {
            least = 1.0;
        }
        let low = least.log10().floor();
        let high = most.max(least).log10().ceil().max(low + 1.0);
        // A decade without a single value says nothing.
        let nines = (count as f64).log10().ceil().clamp(1.0, 7.0);
        Self { nines, low, high }
    }

    fn x(&self, quantile: f64) -> f64 {
        let rest = (1.0 - quantile).max(10f64.powf(-self.nines));
        LEFT + (WIDTH - LEFT - RIGHT) * (-rest.log10() / self.nines)
    }

    fn y(&self, micros: f64) -> f64 {
        let part = (micros.log10() - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * part.clamp(0.0, 1.0)
    }
}

/// Nanoseconds as microseconds; what is below a tenth of a nanosecond has no logarithm.
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 1000.0).max(0.001)
}

/// `0.5` → `50 %`, `0.9999` → `99.99 %`.
fn percent(nine: i32) -> String {
    match nine {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more as usize - 2)),
    }
}

fn label(micros: f64) -> String {
    let (value, unit) = match micros {
        low if low < 1.0 => (micros * 1e3, "ns"),
        low if low < 1e3 => (micros, "µs"),
        low if low < 1e6 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    format!("{} {unit}", (value * 100.0).round() / 100.0)
}

fn line(out: &mut String, (x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\"/>"
    );
}

fn text(out: &mut String, (x, y): (f64, f64), more: &str, words: &str) {
    let words = escape(words);
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\"{more}>{words}</text>");
}

/// Draws all curves that have values into one plot with a legend.
#[must_use]
pub fn svg(title: &str, note: &str, curves: &[&Curve]) -> String {
    let curves: Vec<&Curve> = curves
        .iter()
        .copied()
        .filter(|curve| !curve.histogram.is_empty())
        .collect();
    let axes = Axes::of(&curves);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    text(&mut out, (LEFT, 24.0), " font-size=\"17\"", title);
    text(
        &mut out,
        (LEFT, 43.0),
        " fill=\"#555555\" font-size=\"11\"",
        note,
    );
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for nine in 0..=(axes.nines as i32) {
        let x = axes.x(1.0 - 10f64.powi(-nine));
        line(&mut out, (x, TOP), (x, bottom), "#dddddd");
        text(
            &mut out,
            (x, bottom + 18.0),
            " text-anchor=\"middle\"",
            &percent(nine),
        );
    }
    for decade in (axes.low as i32)..=(axes.high as i32) {
        for step in [1.0, 2.0, 5.0] {
            let value = step * 10f64.powi(decade);
            if value.log10() > axes.high + 1e-9 {
                continue;
            }
            let y = axes.y(value);
            line(&mut out, (LEFT, y), (right, y), "#dddddd");
            text(
                &mut out,
                (LEFT - 8.0, y + 4.0),
                " text-anchor=\"end\"",
                &label(value),
            );
        }
    }
    let middle = (LEFT + right) / 2.0;
    let axis = "percentile (each nine has the same room)";
    text(
        &mut out,
        (middle, HEIGHT - 16.0),
        " text-anchor=\"middle\"",
        axis,
    );
    let turned = format!(
        " text-anchor=\"middle\" transform=\"rotate(-90 20 {:.0})\"",
        HEIGHT / 2.0
    );
    text(
        &mut out,
        (20.0, HEIGHT / 2.0),
        &turned,
        "latency (logarithmic)",
    );
    for (index, curve) in curves.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut points = String::new();
        for value in curve.histogram.iter_quantiles(8) {
            let (x, y) = (
                axes.x(value.quantile()),
                axes.y(micros(value.value_iterated_to())),
            );
            let _ = write!(points, "{x:.1},{y:.1} ");
        }
        let points = points.trim_end();
        let _ = writeln!(
            out,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>"
        );
        let y = TOP + 18.0 + 19.0 * index as f64;
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
            LEFT + 14.0,
            y - 6.0
        );
        let count = curve.histogram.len();
        text(
            &mut out,
            (LEFT + 34.0, y),
            "",
            &format!("{} ({count} messages)", curve.name),
        );
    }
    out.push_str("</svg>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, values: impl IntoIterator<Item = u64>) -> Curve {
        let mut curve = Curve::new(name).unwrap();
        for value in values {
            curve.histogram.record(value).unwrap();
        }
        curve
    }

    fn points(svg: &str) -> Vec<Vec<(f64, f64)>> {
        let lines = svg
            .lines()
            .filter_map(|line| line.split("points=\"").nth(1));
        lines
            .map(|line| {
                let line = line.split('"').next().unwrap();
                let point = |text: &str| {
                    let (x, y) = text.split_once(',').unwrap();
                    (x.parse().unwrap(), y.parse().unwrap())
                };
                line.split(' ').map(point).collect()
            })
            .collect()
    }

    #[test]
    fn every_contender_has_a_line_and_a_legend() {
        let slow = curve("floor: <raw> & slow", (1..=100_000).map(|n| n * 10_000));
        let fast = curve("bookwire", (1..=100_000).map(|n| n * 100));
        let empty = curve("nobody", []);
        let svg = svg("a title", "a machine", &[&fast, &slow, &empty]);
        let lines = points(&svg);
        assert_eq!(lines.len(), 2);
        assert!(svg.contains("bookwire (100000 messages)"));
        assert!(svg.contains("floor: &lt;raw&gt; &amp; slow"));
        assert!(!svg.contains("nobody") && svg.contains("a title") && svg.contains("a machine"));
        for label in [
            "99.99 %",
            "90 %",
            "percentile",
            "latency",
            "100 µs",
            "1 ms",
            "1 s",
        ] {
            assert!(svg.contains(label), "{label}");
        }
        for line in &lines {
            for pair in line.windows(2) {
                // To the right and up, which is down in SVG.
                assert!(pair[0].0 <= pair[1].0 && pair[0].1 >= pair[1].1, "{pair:?}");
            }
            for (x, y) in line {
                assert!((LEFT..=WIDTH - RIGHT).contains(x) && (TOP..=HEIGHT - BOTTOM).contains(y));
            }
        }
        // The slow one lies above the fast one everywhere.
        for (fast, slow) in lines[0].iter().zip(&lines[1]) {
            assert!(slow.1 < fast.1, "{fast:?} {slow:?}");
        }
    }

    #[test]
    fn each_nine_has_the_same_room() {
        let values = curve("one", 1..=100_000);
        let axes = Axes::of(&[&values]);
        let at = [0.0, 0.9, 0.99, 0.999, 0.9999, 0.99999].map(|quantile| axes.x(quantile));
        for pair in at.windows(2) {
            let room = (WIDTH - LEFT - RIGHT) / 5.0;
            assert!((pair[1] - pair[0] - room).abs() < 0.1, "{at:?}");
        }
    }

    #[test]
    fn a_plot_of_nothing_is_a_plot() {
        for curves in [vec![], vec![curve("zero", [0])]] {
            let curves: Vec<&Curve> = curves.iter().collect();
            let svg = svg("t", "n", &curves);
            assert!(svg.ends_with("</svg>\n") && !svg.contains("NaN") && !svg.contains("inf"));
        }
    }
}
