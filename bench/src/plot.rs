//! The picture of README.md: times cuBLAS over the sparsity, a panel for each N.

use std::collections::{BTreeMap, BTreeSet};

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::csv::Row;

/// A panel's size and how many stand beside each other.
const PANEL: (i32, i32) = (300, 250);
const COLUMNS: usize = 3;
/// Above the panels: title and legend.
const HEAD: i32 = 84;

const INK: RGBColor = RGBColor(0x24, 0x29, 0x2f);
const SOFT: RGBColor = RGBColor(0x6e, 0x77, 0x81);
const GRID: RGBColor = RGBColor(0xe4, 0xe7, 0xea);
/// Distinguishable by those who do not see red and green apart (Okabe and Ito).
const COLOURS: [(&str, RGBColor); 5] = [
    ("slots", RGBColor(0x00, 0x72, 0xb2)),
    ("banked", RGBColor(0xcc, 0x79, 0xa7)),
    ("sell", RGBColor(0xe6, 0x9f, 0x00)),
    ("bitmap", RGBColor(0xd5, 0x5e, 0x00)),
    ("tiled-csl", RGBColor(0x00, 0x9e, 0x73)),
];

/// Points of a line: per cent of zeros, times cuBLAS.
type Line = Vec<(f64, f64)>;

struct Panel {
    n: usize,
    lines: Vec<(RGBColor, Line)>,
    floor: Line,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// One picture of the newest rows of a device and a shape, as SVG; `None` if there is nothing to draw.
pub fn draw(title: &str, rows: &[&Row]) -> Result<Option<String>, String> {
    let panels = panels(rows);
    if panels.is_empty() {
        return Ok(None);
    }
    let across = panels.len().min(COLUMNS) as i32;
    let down = panels.len().div_ceil(COLUMNS) as i32;
    let (width, height) = ((across * PANEL.0).max(600), HEAD + down * PANEL.1);
    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, (width as u32, height as u32));
        let root = root.into_drawing_area();
        paint(&root, title, &panels).map_err(|e| format!("the plot: {e}"))?;
        root.present().map_err(|e| format!("the plot: {e}"))?;
    }
    Ok(Some(svg))
}

fn panels(rows: &[&Row]) -> Vec<Panel> {
    let tokens: BTreeSet<usize> = rows.iter().map(|row| row.n).collect();
    let mut found = Vec::new();
    for n in tokens {
        let mut floor: BTreeMap<u32, f64> = BTreeMap::new();
        let mut lines = Vec::new();
        for (format, colour) in COLOURS {
            let mut line = Line::new();
            for row in rows.iter().filter(|row| row.n == n && row.format == format) {
                let Some(ratio) = row.ratio() else { continue };
                let zeros = 100.0 * row.sparsity;
                line.push((zeros, ratio));
                // The floor is the same for all formats but for the clocks of their runs.
                if let Some(fraction) = row.floor_fraction.filter(|f| *f > 0.0) {
                    floor.entry((10.0 * zeros).round() as u32).or_insert(ratio / fraction);
                }
            }
            line.sort_by(|a, b| a.0.total_cmp(&b.0));
            if line.len() > 1 {
                lines.push((colour, line));
            }
        }
        if lines.is_empty() {
            continue;
        }
        let floor = floor.into_iter().map(|(zeros, ratio)| (f64::from(zeros) / 10.0, ratio));
        found.push(Panel { n, lines, floor: floor.collect() });
    }
    found
}

fn font(size: i32, colour: RGBColor) -> TextStyle<'static> {
    ("DejaVu Sans, Helvetica, Arial, sans-serif", size).into_font().color(&colour)
}

fn paint(root: &Area<'_>, title: &str, panels: &[Panel]) -> Result<(), Box<dyn std::error::Error>> {
    root.fill(&WHITE)?;
    root.draw(&Text::new(title.to_owned(), (16, 14), font(17, INK)))?;
    legend(root, panels)?;
    let all = || panels.iter().flat_map(|p| p.lines.iter().flat_map(|l| &l.1));
    let left = all().map(|p| p.0).fold(f64::INFINITY, f64::min);
    let right = all().map(|p| p.0).fold(0.0, f64::max);
    let top = all().chain(panels.iter().flat_map(|p| &p.floor)).map(|p| p.1).fold(1.0, f64::max);
    // The floor of the highest sparsities leaves the picture rather than press the lines together.
    let top = top.min(1.6 * all().map(|p| p.1).fold(1.0, f64::max)).ceil();
    let rest = root.margin(HEAD, 0, 0, 0);
    let across = panels.len().min(COLUMNS);
    let areas = rest.split_evenly((panels.len().div_ceil(COLUMNS), across));
    for (panel, area) in panels.iter().zip(&areas) {
        let mut chart = ChartBuilder::on(area)
            .margin_left(8)
            .margin_right(14)
            .margin_bottom(6)
            .margin_top(26)
            .x_label_area_size(40)
            .y_label_area_size(38)
            .build_cartesian_2d(left - 3.0..right + 3.0, 0.0..top)?;
        area.draw(&Text::new(format!("N = {}", panel.n), (48, 6), font(15, INK)))?;
        draw_panel(&mut chart, panel, top)?;
    }
    Ok(())
}

fn draw_panel(
    chart: &mut Chart<'_, '_>,
    panel: &Panel,
    top: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(SOFT)
        .x_labels(5)
        .y_labels(top as usize + 1)
        .x_label_formatter(&|v| format!("{v:.0} %"))
        .y_label_formatter(&|v| format!("{v:.0}x"))
        .x_desc("zeros")
        .axis_desc_style(font(12, SOFT))
        .label_style(font(12, SOFT))
        .draw()?;
    let range = chart.x_range();
    chart.draw_series(LineSeries::new(
        [(range.start, 1.0), (range.end, 1.0)],
        INK.stroke_width(1),
    ))?;
    chart.draw_series(DashedLineSeries::new(
        clipped(&panel.floor, top),
        6,
        4,
        SOFT.stroke_width(2),
    ))?;
    for (colour, line) in &panel.lines {
        chart.draw_series(LineSeries::new(line.iter().copied(), colour.stroke_width(3)))?;
        chart.draw_series(line.iter().map(|&p| Circle::new(p, 4, colour.filled())))?;
    }
    // The best line's ends, in figures.
    let ends = [|l: &Line| l.first().copied(), |l: &Line| l.last().copied()];
    for end in ends {
        let best = panel
            .lines
            .iter()
            .filter_map(|(colour, line)| end(line).map(|p| (p, *colour)))
            .max_by(|a, b| a.0.1.total_cmp(&b.0.1));
        if let Some(((x, y), colour)) = best {
            let style = font(12, colour).pos(Pos::new(HPos::Center, VPos::Bottom));
            let offset = 0.035 * top;
            chart.draw_series([Text::new(format!("{y:.2}"), (x, y + offset), style)])?;
        }
    }
    Ok(())
}

/// A rising line up to `top`, cut where it crosses it.
fn clipped(line: &[(f64, f64)], top: f64) -> Line {
    let mut found = Line::new();
    for &(x, y) in line {
        if y <= top {
            found.push((x, y));
            continue;
        }
        if let Some(&(x0, y0)) = found.last() {
            found.push((x0 + (x - x0) * (top - y0) / (y - y0), top));
        }
        break;
    }
    found
}

fn legend(root: &Area<'_>, panels: &[Panel]) -> Result<(), Box<dyn std::error::Error>> {
    let (mut x, y) = (18, 56);
    let style = |colour| font(13, colour).pos(Pos::new(HPos::Left, VPos::Center));
    for (name, colour) in COLOURS {
        if !panels.iter().any(|p| p.lines.iter().any(|l| l.0 == colour)) {
            continue;
        }
        root.draw(&PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(3)))?;
        root.draw(&Circle::new((x + 13, y), 4, colour.filled()))?;
        root.draw(&Text::new(name.to_owned(), (x + 33, y), style(INK)))?;
        x += 54 + 7 * name.len() as i32;
    }
    for from in [0, 10, 20] {
        root.draw(&PathElement::new([(x + from, y), (x + from + 6, y)], SOFT.stroke_width(2)))?;
    }
    let words = "as fast as the bytes of a bitmap arrive";
    root.draw(&Text::new(words.to_owned(), (x + 33, y), style(INK)))?;
    x += 50 + 6 * words.len() as i32;
    root.draw(&PathElement::new([(x, y), (x + 26, y)], INK.stroke_width(1)))?;
    root.draw(&Text::new("cuBLAS, dense".to_owned(), (x + 33, y), style(INK)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::csv::tests::sample;

    #[test]
    fn a_picture_has_a_panel_for_each_n_and_is_the_same_every_time() {
        let mut rows = Vec::new();
        for n in [1, 16, 64] {
            for sparsity in [0.5, 0.8, 0.9] {
                rows.push(Row { n, sparsity, us: 120.0 - 100.0 * sparsity, ..sample() });
            }
        }
        let rows: Vec<&Row> = rows.iter().collect();
        let svg = draw("a title", &rows).unwrap().unwrap();
        for words in ["a title", "N = 1\n", "N = 16\n", "N = 64\n", "bitmap", "80 %"] {
            assert!(svg.contains(words), "{words}");
        }
        assert!(!svg.contains("tiled-csl"));
        assert_eq!(draw("a title", &rows).unwrap().unwrap(), svg);
        assert_eq!(draw("nothing", &[]).unwrap(), None);
    }

    #[test]
    fn the_floor_ends_at_the_top() {
        assert_eq!(
            clipped(&[(50.0, 2.0), (60.0, 4.0), (70.0, 6.0)], 3.0),
            [(50.0, 2.0), (55.0, 3.0)]
        );
        assert_eq!(clipped(&[(50.0, 2.0)], 3.0), [(50.0, 2.0)]);
        assert_eq!(clipped(&[(50.0, 4.0)], 3.0), []);
    }
}
