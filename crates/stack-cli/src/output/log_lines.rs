//! Lines of containers with a name in front.

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use stack_runtime::log::Line;

/// Colours of the names, in the order docker compose gives them out.
const COLOURS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// How lines are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LineStyle {
    pub(crate) prefix: bool,
    pub(crate) colour: bool,
    pub(crate) timestamps: bool,
}

/// Whose a line is.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    /// `web-1`.
    pub(crate) name: String,
    /// Picks the colour: equal for all containers of a service.
    pub(crate) colour: usize,
}

/// A line with its name, padded to `width`, ready to be written.
pub(crate) fn render(speaker: &Speaker, line: &Line, width: usize, style: LineStyle) -> Vec<u8> {
    let LineStyle { prefix, colour, timestamps } = style;
    let mut bytes = Vec::with_capacity(line.text.len() + width + 48);
    if prefix {
        let paint = match colour {
            true => Style::new().fg_color(Some(COLOURS[speaker.colour % COLOURS.len()].into())),
            false => Style::new(),
        };
        bytes.extend_from_slice(format!("{paint}{:<width$}  |{paint:#} ", speaker.name).as_bytes());
    }
    if timestamps {
        bytes.extend_from_slice(time(line.time_ns).as_bytes());
        bytes.push(b' ');
    }
    bytes.extend_from_slice(&line.text);
    bytes.push(b'\n');
    bytes
}

/// RFC 3339 with nine digits after the point.
fn time(time_ns: u64) -> String {
    let timestamp = Timestamp::from_nanosecond(i128::from(time_ns)).unwrap_or_default();
    format!("{timestamp:.9}")
}

#[cfg(test)]
mod tests {
    use stack_runtime::log::Stream;

    use super::*;

    #[test]
    fn names_are_aligned_and_bytes_untouched() {
        let line = Line { time_ns: 1_700_000_000_000_000_001, stream: Stream::Stdout, text: b"a \xff b".to_vec() };
        let speaker = Speaker { name: "web-1".to_owned(), colour: 0 };
        let plain = LineStyle { prefix: true, colour: false, timestamps: false };
        assert_eq!(render(&speaker, &line, 9, plain), b"web-1      | a \xff b\n");
        let bare = LineStyle { prefix: false, colour: true, timestamps: true };
        assert_eq!(render(&speaker, &line, 9, bare), b"2023-11-14T22:13:20.000000001Z a \xff b\n");
        let coloured = render(&speaker, &line, 5, LineStyle { colour: true, ..plain });
        assert!(coloured.starts_with(b"\x1b[36mweb-1  |\x1b[0m "));
    }
}
