//! Draws how figures grow: with connections, backlog, payload, workers, and time.
//!
//! A line chart is little text, so it is written here and needs no library.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Room around the chart, for labels.
const LEFT: f64 = 80.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Lines across the chart.
const GRID_LINES: u32 = 5;
const COLOURS: [&str; 5] = ["#0b6", "#06c", "#d60", "#909", "#555"];

/// A chart, and which rows are in it.
struct Chart {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    x_label: &'static str,
    y_label: &'static str,
    is_logarithmic: bool,
    lines: &'static [Line],
}

/// A line: the rows of a scenario whose variant begins like this, and their field.
struct Line {
    name: &'static str,
    scenario: &'static str,
    variant: &'static str,
    field: &'static str,
}

const fn line(
    name: &'static str,
    scenario: &'static str,
    variant: &'static str,
    field: &'static str,
) -> Line {
    Line {
        name,
        scenario,
        variant,
        field,
    }
}

const CHARTS: &[Chart] = &[
    Chart {
        file: "connections.svg",
        title: "Tasks a second by connections",
        x: "connections",
        x_label: "connections",
        y_label: "tasks/s",
        is_logarithmic: true,
        lines: &[
            line("claim and complete", "cycle", "", "ours"),
            line("claim, start, complete", "cycle-3", "", "ours"),
            line("pgbench, single rows", "cycle", "", "yardstick"),
            line("create", "create", "", "ours"),
        ],
    },
    Chart {
        file: "claim-times.svg",
        title: "How long a claim takes by connections",
        x: "connections",
        x_label: "connections",
        y_label: "ms",
        is_logarithmic: true,
        lines: &[
            line("p50", "cycle", "", "p50_ms"),
            line("p95", "cycle", "", "p95_ms"),
            line("p99", "cycle", "", "p99_ms"),
        ],
    },
    Chart {
        file: "backlog.svg",
        title: "Create, claim and complete by ready tasks behind",
        x: "backlog",
        x_label: "ready tasks",
        y_label: "tasks/s",
        is_logarithmic: true,
        lines: &[line("tasks a second", "backlog", "", "ours")],
    },
    Chart {
        file: "payload.svg",
        title: "Tasks a second by size of input and output",
        x: "payload_bytes",
        x_label: "bytes of the input, and of the output",
        y_label: "tasks/s",
        is_logarithmic: true,
        lines: &[line("claim and complete", "payload", "", "ours")],
    },
    Chart {
        file: "idle.svg",
        title: "What idle workers cost",
        x: "connections",
        x_label: "workers",
        y_label: "cores",
        is_logarithmic: false,
        lines: &[
            line("waiting and beating", "idle", "with beats", "ours"),
            line("waiting only", "idle", "waiting only", "ours"),
        ],
    },
    Chart {
        file: "sustained.svg",
        title: "Tasks a second at 60 % of the peak; a snapshot is held in the second half",
        x: "minute",
        x_label: "minutes",
        y_label: "tasks/s",
        is_logarithmic: false,
        lines: &[line("tasks a second", "sustained", "to minute", "ours")],
    },
    Chart {
        file: "sustained-times.svg",
        title: "How long a claim takes at 60 % of the peak",
        x: "minute",
        x_label: "minutes",
        y_label: "ms",
        is_logarithmic: false,
        lines: &[
            line("p50", "sustained", "to minute", "p50_ms"),
            line("p99", "sustained", "to minute", "p99_ms"),
        ],
    },
    Chart {
        file: "sustained-sizes.svg",
        title: "Size of the tables in which rows come and go",
        x: "minute",
        x_label: "minutes",
        y_label: "MiB",
        is_logarithmic: false,
        lines: &[
            line("with indexes", "sustained", "to minute", "hot_mib"),
            line("indexes", "sustained", "to minute", "hot_index_mib"),
        ],
    },
];

/// Points of a line, from left to right.
type Points = Vec<(f64, f64)>;

/// Draws every chart that the rows have at least two points for.
pub(crate) fn draw(rows: &[Value], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for chart in CHARTS {
        let lines: Vec<(&str, Points)> = chart
            .lines
            .iter()
            .map(|line| (line.name, points(rows, chart.x, line)))
            .filter(|(_, points)| points.len() > 1)
            .collect();
        if !lines.is_empty() {
            std::fs::write(folder.join(chart.file), svg(chart, &lines))?;
        }
    }
    Ok(())
}

/// The points of a line. Several runs give the median of their figures.
fn points(rows: &[Value], x: &str, line: &Line) -> Points {
    let mut found: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for row in rows {
        let is_ours = row["scenario"] == line.scenario
            && row["variant"]
                .as_str()
                .is_some_and(|variant| variant.starts_with(line.variant));
        if !is_ours {
            continue;
        }
        if let (Some(x), Some(y)) = (row[x].as_f64(), row[line.field].as_f64()) {
            // Times are the only figures with a fraction, and a thousandth of a minute is enough.
            found.entry((x * 1000.0) as u64).or_default().push(y);
        }
    }
    found
        .into_iter()
        .map(|(x, mut figures)| {
            figures.sort_by(f64::total_cmp);
            (x as f64 / 1000.0, figures[figures.len() / 2])
        })
        .collect()
}

fn svg(chart: &Chart, lines: &[(&str, Points)]) -> String {
    let all = || lines.iter().flat_map(|(_, points)| points);
    let scaled = |x: f64| {
        if chart.is_logarithmic {
            x.max(1.0).log2()
        } else {
            x
        }
    };
    let x_min = all().map(|(x, _)| scaled(*x)).fold(f64::INFINITY, f64::min);
    let x_max = all().map(|(x, _)| scaled(*x)).fold(x_min + 1e-9, f64::max);
    let y_max = round_up(all().map(|(_, y)| *y).fold(0.0, f64::max));
    let across = |x: f64| LEFT + (scaled(x) - x_min) / (x_max - x_min) * (WIDTH - LEFT - RIGHT);
    let up = |y: f64| HEIGHT - BOTTOM - y / y_max * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#555\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
    );
    let mut put = |line: String| writeln!(text, "{line}").expect("a text takes everything");
    put(format!(
        "<text x=\"{LEFT}\" y=\"20\" font-size=\"15\" fill=\"#222\">{}</text>",
        chart.title
    ));
    for step in 0..=GRID_LINES {
        let y = y_max * f64::from(step) / f64::from(GRID_LINES);
        let height = up(y);
        put(format!(
            "<path d=\"M{LEFT} {height:.1}H{}\" stroke=\"#ddd\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            height + 4.0,
            label(y)
        ));
    }
    let mut marks: Vec<f64> = all().map(|(x, _)| *x).collect();
    marks.sort_by(f64::total_cmp);
    marks.dedup();
    let every = marks.len().div_ceil(12);
    for x in marks.iter().step_by(every) {
        put(format!(
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            across(*x),
            HEIGHT - BOTTOM + 18.0,
            label(*x)
        ));
    }
    put(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - BOTTOM + 40.0,
        chart.x_label
    ));
    put(format!(
        "<text x=\"{LEFT}\" y=\"{}\" text-anchor=\"end\">{}</text>",
        TOP - 12.0,
        chart.y_label
    ));
    for ((name, points), (place, colour)) in lines.iter().zip(COLOURS.iter().enumerate()) {
        let path: Vec<String> = points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", across(*x), up(*y)))
            .collect();
        put(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            path.join(" ")
        ));
        for (x, y) in points {
            put(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                across(*x),
                up(*y)
            ));
        }
        put(format!(
            "<text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            LEFT + 10.0 + 165.0 * place as f64,
            TOP - 12.0
        ));
    }
    text.push_str("</svg>\n");
    text
}

/// The next number of the form 1, 2 or 5 times a power of ten.
fn round_up(number: f64) -> f64 {
    if number <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(number.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|step| step * power >= number)
        .unwrap_or(10.0);
    step * power
}

fn label(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{}M", number / 1e6),
        number if number >= 1e4 => format!("{}k", number / 1e3),
        number if number.fract() == 0.0 => format!("{number}"),
        number => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_the_median_of_its_runs() {
        let row = |connections: u64, ours: f64| json!({"scenario": "cycle", "variant": "", "connections": connections, "ours": ours});
        let rows = [row(64, 3.0), row(64, 9.0), row(64, 4.0), row(1, 1.0)];
        let found = points(&rows, "connections", &line("", "cycle", "", "ours"));
        assert_eq!(found, [(1.0, 1.0), (64.0, 4.0)]);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(round_up(0.0), 1.0);
        assert_eq!(round_up(17.0), 20.0);
        assert_eq!(round_up(20_001.0), 50_000.0);
    }
}
