//! Four plots in one SVG.

use std::error::Error;
use std::path::Path;

use anyhow::anyhow;
use plotters::coord::Shift;
use plotters::prelude::{
    ChartBuilder, Circle, DrawingArea, IntoDrawingArea as _, IntoLogRange as _, IntoSegmentedCoord as _, LineSeries,
    RGBColor, Rectangle, SVGBackend, SegmentValue, SeriesLabelPosition, WHITE,
};
use plotters::style::Color as _;

use crate::goals::{figure, mebi};
use crate::report::{Latency, Replicas, Report, Sites, Waiting};

const SIZE: (u32, u32) = (1_100, 900);
/// Colours that colour-blind readers can distinguish.
const BLUE: RGBColor = RGBColor(0, 114, 178);
const ORANGE: RGBColor = RGBColor(230, 159, 0);
const TITLE: (&str, u32) = ("sans-serif", 18);

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Done = Result<(), Box<dyn Error>>;

struct Line {
    name: &'static str,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
}

pub(crate) fn draw(path: &Path, report: &Report) -> anyhow::Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    drawn(&area, report).map_err(|error| anyhow!("{} cannot be drawn: {error}", path.display()))
}

fn drawn(area: &Area<'_>, report: &Report) -> Done {
    area.fill(&WHITE)?;
    let quarters = area.split_evenly((2, 2));
    if !report.latency.is_empty() {
        bars(&quarters[0], "From a report, ms, median", &report.latency)?;
    }
    let sites = |name, colour, y: fn(&Sites) -> f64| Line {
        name,
        colour,
        points: report.sites.iter().map(|row| (row.sites.into(), y(row))).collect(),
    };
    let memory = [sites("idle", BLUE, |row| mebi(row.rss_kib)), sites("peak", ORANGE, |row| mebi(row.peak_rss_kib))];
    lines(&quarters[1], "RSS of one process, MiB, by sites", memory)?;
    let replicas = |name, colour, y: fn(&Replicas) -> f64| Line {
        name,
        colour,
        points: report.replicas.iter().map(|row| (row.replicas.into(), y(row))).collect(),
    };
    let shared = [
        replicas("new token, ms (the solve: 100)", BLUE, |row| row.end_to_end.median),
        replicas("Redis commands", ORANGE, |row| row.commands_per_report),
    ];
    lines(&quarters[2], "One report, by replicas", shared)?;
    let waiting = |name, colour, y: fn(&Waiting) -> f64| Line {
        name,
        colour,
        points: report.waiting.iter().map(|row| (row.parsers.into(), y(row))).collect(),
    };
    let waits =
        [waiting("the first parser", BLUE, |row| row.first_ms), waiting("the last parser", ORANGE, |row| row.last_ms)];
    lines(&quarters[3], "New token, ms, by waiting parsers", waits)?;
    area.present()?;
    Ok(())
}

/// Two bars a row, on a logarithmic axis.
fn bars(area: &Area<'_>, title: &str, rows: &[Latency]) -> Done {
    let (least, most) = decades(rows.iter().flat_map(|row| [row.dispatch.median, row.end_to_end.median]));
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(32)
        .y_label_area_size(190)
        .build_cartesian_2d((least..most).log_scale(), (0..rows.len() - 1).into_segmented())?;
    // The first row is on top.
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(n) => {
            rows.iter().rev().nth(*n).map_or_else(String::new, |row| row.subject.name().to_owned())
        }
        _ => String::new(),
    };
    chart.configure_mesh().disable_y_mesh().x_label_formatter(&|x| figure(*x)).y_label_formatter(&name).draw()?;
    for (label, colour, margins, of) in [
        ("solver's request", BLUE, (4, 22), (|row| row.dispatch.median) as fn(&Latency) -> f64),
        ("new token", ORANGE, (22, 4), |row| row.end_to_end.median),
    ] {
        let bars = rows.iter().rev().enumerate().map(|(n, row)| {
            let corners = [(least, SegmentValue::Exact(n)), (of(row), SegmentValue::Exact(n + 1))];
            let mut bar = Rectangle::new(corners, colour.filled());
            bar.set_margin(margins.0, margins.1, 0, 0);
            bar
        });
        chart.draw_series(bars)?.label(label).legend(move |place| Circle::new(place, 4, colour.filled()));
    }
    let place = SeriesLabelPosition::UpperRight;
    chart.configure_series_labels().position(place).background_style(WHITE).border_style(WHITE).draw()?;
    Ok(())
}

/// Lines on logarithmic axes.
fn lines(area: &Area<'_>, title: &str, lines: [Line; 2]) -> Done {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    if points().next().is_none() {
        return Ok(());
    }
    let (left, right) = decades(points().map(|point| point.0));
    let (least, most) = decades(points().map(|point| point.1));
    let mut chart = ChartBuilder::on(area)
        .caption(title, TITLE)
        .margin(14)
        .margin_right(28)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d((left..right).log_scale(), (least..most).log_scale())?;
    chart.configure_mesh().x_label_formatter(&|x| figure(*x)).y_label_formatter(&|y| figure(*y)).draw()?;
    for Line { name, colour, points } in lines {
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
        let line = chart.draw_series(LineSeries::new(points, colour.stroke_width(2)))?;
        line.label(name).legend(move |place| Circle::new(place, 4, colour.filled()));
    }
    let place = SeriesLabelPosition::UpperLeft;
    chart.configure_series_labels().position(place).background_style(WHITE).border_style(WHITE).draw()?;
    Ok(())
}

/// The powers of ten below and above all values.
fn decades(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (least, most) =
        values.fold((f64::INFINITY, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let least = 10_f64.powf(least.log10().floor());
    (least, 10_f64.powf(most.log10().ceil()).max(10.0 * least))
}
