//! `cargo xtask bench plot`: draws the figures for the book.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use common::step::Step;
use quick_xml::escape::escape;

use super::record::{Figure, Machine, Record};

/// Sizes in pixels of a drawing that is as wide as a page of the book.
const WIDTH: u32 = 780;
const NAMES: u32 = 215;
const BARS: u32 = 250;
const ROW: u32 = 24;
const BAR: u32 = 15;
const LETTER: u32 = 14;

/// Draw these files, one below the other.
///
/// # Errors
/// read(2) or write(2) fails; a file was not written by `--json`.
pub(super) fn plot(files: &[PathBuf], out: &Path) -> Result<()> {
    let records: Vec<Record> =
        files.iter().map(|file| Record::read(file)).collect::<Result<_>>()?;
    for (record, file) in records.iter().zip(files) {
        ensure!(!record.figures.is_empty(), "{} has no figures", file.display());
    }
    fs::write(out, draw(&records)).step(|| format!("write(2) {}", out.display()))
}

/// The SVG. It has no empty line, which would end it in Markdown. Its colour is that
/// of the surrounding text; as a document of its own it has its own colour.
fn draw(records: &[Record]) -> String {
    let mut body = String::new();
    let mut y = 0;
    for record in records {
        panel(record, &mut y, &mut body);
    }
    let label = records.iter().map(spoken).collect::<Vec<_>>().join(". ");
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {y}\" \
         role=\"img\" aria-label=\"{}\" style=\"max-width:100%;height:auto\" \
         font-family=\"sans-serif\" font-size=\"{LETTER}\" fill=\"currentColor\">\n\
         <style>svg:root{{background:#fff;color:#222}}\
         @media(prefers-color-scheme:dark){{svg:root{{background:#161923;color:#ddd}}}}\
         </style>\n{body}</svg>\n",
        escape(&label)
    )
}

fn panel(record: &Record, y: &mut u32, body: &mut String) {
    let line = |y: &mut u32, text: &str, bold: bool| {
        *y += ROW;
        let weight = if bold { " font-weight=\"bold\"" } else { "" };
        format!("<text x=\"8\" y=\"{y}\"{weight}>{}</text>\n", escape(text))
    };
    *body += &line(y, &record.title, true);
    for text in about(record) {
        *body += &line(y, &text, false);
    }
    let medians = record.figures.iter().map(|figure| figure.median);
    let most = medians.fold(f64::MIN_POSITIVE, f64::max);
    for group in record.figures.chunk_by(|a, b| a.group == b.group) {
        *y += ROW / 3;
        *body += &line(y, &group[0].group, true);
        for (at, figure) in group.iter().enumerate() {
            *y += ROW;
            let length = (figure.median / most * f64::from(BARS)).max(1.0);
            let top = *y - LETTER + 2;
            // Our bar is the first.
            let opacity = if at == 0 { 0.75 } else { 0.4 };
            *body += &format!(
                "<text x=\"20\" y=\"{y}\">{}</text>\
                 <rect x=\"{NAMES}\" y=\"{top}\" width=\"{length:.1}\" \
                 height=\"{BAR}\" opacity=\"{opacity}\"/>\
                 <text x=\"{:.1}\" y=\"{y}\">{}</text>\n",
                escape(&figure.name),
                f64::from(NAMES) + length + 8.0,
                escape(spoken_value(figure, &record.unit)),
            );
        }
    }
    *y += ROW;
}

/// Date and machine, in lines that fit.
fn about(record: &Record) -> [String; 2] {
    let Machine { processor, processors, memory, kernel, file_system, commit } =
        &record.machine;
    [
        format!(
            "{}, medians of {}; {processor}",
            record.date, record.figures[0].runs
        ),
        format!(
            "{processors} processors, {memory} MiB, Linux {kernel}, {file_system}, \
             commit {commit}"
        ),
    ]
}

/// The text of a bar: its value, ratio and target.
fn spoken_value(figure: &Figure, unit: &str) -> String {
    let number = match figure.median {
        large if large >= 100.0 => format!("{large:.0}"),
        small => format!("{small:.2}"),
    };
    let unit = figure.unit.as_deref().unwrap_or(unit);
    let mut text = format!("{number} {unit}");
    if let Some(ratio) = figure.ratio {
        text += &format!("; ours / theirs {ratio:.2}");
    }
    if let Some(aim) = figure.aim {
        text += &format!(" (aim ≤ {aim})");
    }
    text
}

/// The same as text, for screen readers.
fn spoken(record: &Record) -> String {
    let figures = record.figures.iter().map(|figure| {
        format!(
            "{}, {}: {}",
            figure.group,
            figure.name,
            spoken_value(figure, &record.unit)
        )
    });
    format!("{}: {}", record.title, figures.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::Event;

    use super::*;

    fn record() -> Record {
        let figures = vec![
            Figure::of("cold", "ours", &[5.0]),
            Figure::of("cold", "<them> & co", &[10.0]).ratio(0.5).aimed(Some(0.7)),
            Figure::of("hot", "ours", &[1.0]),
        ];
        Record::new("start", "A \"start\"".into(), "ms", Path::new("/"), figures)
    }

    /// The attributes `width` of the bars, and all texts.
    fn parts(svg: &str) -> (Vec<f64>, Vec<String>) {
        let mut reader = Reader::from_str(svg);
        let (mut widths, mut texts) = (Vec::new(), Vec::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => return (widths, texts),
                Event::Empty(tag) if tag.name().as_ref() == "rect" => {
                    let width = tag.try_get_attribute("width").unwrap().unwrap();
                    widths.push(width.value.parse().unwrap());
                }
                Event::Start(tag) if tag.name().as_ref() == "text" => {
                    let text = reader.read_text(tag.name()).unwrap();
                    texts.push(text.as_ref().to_owned());
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_bar_has_the_length_of_its_number_and_shows_it() {
        let svg = draw(&[record()]);
        let (widths, texts) = parts(&svg);
        assert_eq!(widths, [125.0, 250.0, 25.0]);
        for text in ["ours", "5.00 ms", "&lt;them&gt; &amp; co"] {
            assert!(texts.contains(&text.to_owned()), "{text}: {texts:?}");
        }
        let judged = "10.00 ms; ours / theirs 0.50 (aim ≤ 0.7)";
        assert!(texts.contains(&judged.to_owned()), "{texts:?}");
    }

    #[test]
    fn the_plot_can_be_included_in_a_page_of_the_book() {
        let svg = draw(&[record(), record()]);
        // An empty line ends an SVG in Markdown, and there must be no script.
        assert!(!svg.contains("\n\n") && !svg.contains("<script"));
        // It must not change the colours of the surrounding page.
        assert_eq!(svg.matches("svg:root{").count(), 2);
        assert_eq!(svg.matches(";color:").count(), 2);
        assert_eq!(parts(&svg).0.len(), 6);
    }
}
