//! How a stream is cut into pieces, and how its lines end, never changes what it says.

use super::{DIALECTS, fixtures, read_stream};

#[test]
fn a_stream_split_at_every_byte_says_the_same() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("streams/{dialect}")) {
            let whole = read_stream(dialect, [body.as_slice()]);
            assert!(!whole.chunks.is_empty(), "{name}: nothing was read");
            for cut in 0..=body.len() {
                let (head, tail) = body.split_at(cut);
                assert_eq!(read_stream(dialect, [head, tail]), whole, "{name}, cut at {cut}");
            }
            assert_eq!(read_stream(dialect, body.chunks(1)), whole, "{name}, byte by byte");
        }
    }
}

#[test]
fn line_ends_marks_and_comments_say_nothing() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("streams/{dialect}")) {
            let whole = read_stream(dialect, [body.as_slice()]);
            let text = String::from_utf8(body).unwrap();
            for (variant, text) in [
                ("byte order mark", format!("\u{feff}{text}")),
                ("CRLF", text.replace('\n', "\r\n")),
                ("CR", text.replace('\n', "\r")),
                ("no blank line at the end", text.trim_end().to_owned()),
                ("comments", format!(": begin\n\n{}", text.replace("\n\n", "\n: more\n\n: keep-alive\n\n"))),
                ("no space after the colon", text.replace("\ndata: ", "\ndata:").replace("event: ", "event:")),
            ] {
                assert_eq!(read_stream(dialect, [text.as_bytes()]), whole, "{name}, {variant}");
                assert_eq!(read_stream(dialect, text.as_bytes().chunks(7)), whole, "{name}, {variant}, in sevens");
            }
        }
    }
}

#[test]
fn a_stream_that_ends_early_is_not_complete() {
    for dialect in DIALECTS {
        for (name, body) in fixtures(&format!("streams/{dialect}")) {
            let read = read_stream(dialect, [body.as_slice()]);
            let whole = !matches!(name.as_str(), "cut" | "cut_text" | "error" | "ends_error");
            assert_eq!(read.is_complete, whole, "{name}");
            assert_eq!(
                read.fault.is_some(),
                matches!(name.as_str(), "error" | "ends_error"),
                "{name}: {:?}",
                read.fault
            );
        }
    }
}
