//! Draws `docs/benchmarks.svg`: one panel for each quantity, one bar for each server.

use std::fmt::Write;

use super::{CPU, Column, FIRST_TOKEN, REQUESTS, RESIDENT, Report, median};
use crate::peers::{FASTAPI, FASTIFY, GO, ROOMKEY, SIGN};

/// The panels, and a caption that says which direction is better.
const PANELS: [(&Column, &str); 4] = [
    (&REQUESTS, "Tokens per second on one core (more is better)"),
    (&CPU, "CPU for 10,000 tokens, ms (less is better)"),
    (&RESIDENT, "Memory, MB (less is better)"),
    (
        &FIRST_TOKEN,
        "From start to the first token, ms (less is better)",
    ),
];

/// The servers, from top to bottom.
const SERVERS: [&str; 5] = [ROOMKEY, SIGN, GO, FASTIFY, FASTAPI];

const PANEL_WIDTH: usize = 460;
const PANEL_HEIGHT: usize = 190;
/// Where the bars of a panel begin, right of the servers' names.
const BAR_LEFT: usize = 90;
/// The length of the longest bar; its number stands to the right of it.
const BAR_WIDTH: f64 = 270.0;
const ROW: usize = 28;

impl Report {
    /// Returns the picture as an SVG document that reads on a light and on a dark page.
    pub(super) fn picture(&self) -> String {
        let (width, height) = (2 * PANEL_WIDTH + 20, 2 * PANEL_HEIGHT + 20);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"system-ui, sans-serif\" font-size=\"13\" role=\"img\">\n\
             <title>roomkey beside other token servers</title>\n\
             <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"#ffffff\"/>\n"
        );
        for (place, (column, caption)) in PANELS.iter().enumerate() {
            let left = 10 + place % 2 * PANEL_WIDTH;
            let top = 10 + place / 2 * PANEL_HEIGHT;
            self.draw_panel(&mut svg, (left, top), column, caption);
        }
        svg + "</svg>\n"
    }

    fn draw_panel(
        &self,
        svg: &mut String,
        (left, top): (usize, usize),
        column: &Column,
        caption: &str,
    ) {
        let values =
            SERVERS.map(|name| median(self.turns_of(name).iter().map(column.of).collect()));
        let most = values.iter().copied().fold(0.0, f64::max);
        writeln!(
            svg,
            "<g transform=\"translate({left} {top})\">\n\
             <text x=\"10\" y=\"22\" font-weight=\"600\" fill=\"#1f2937\">{caption}</text>"
        )
        .unwrap();
        for (row, (name, value)) in SERVERS.iter().zip(values).enumerate() {
            let y = 36 + row * ROW;
            let fill = if *name == ROOMKEY {
                "#0f766e"
            } else {
                "#cbd5e1"
            };
            let length = (value / most * BAR_WIDTH).max(1.5);
            #[expect(clippy::cast_precision_loss, reason = "a place in a picture")]
            let number_left = BAR_LEFT as f64 + length + 6.0;
            writeln!(
                svg,
                "<text x=\"{name_right}\" y=\"{baseline}\" text-anchor=\"end\" \
                 fill=\"#1f2937\">{name}</text>\n\
                 <rect x=\"{BAR_LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"18\" rx=\"3\" \
                 fill=\"{fill}\"/>\n\
                 <text x=\"{number_left:.1}\" y=\"{baseline}\" fill=\"#1f2937\">{value:.digits$}\
                 </text>",
                name_right = BAR_LEFT - 8,
                baseline = y + 14,
                digits = column.digits,
            )
            .unwrap();
        }
        svg.push_str("</g>\n");
    }
}
