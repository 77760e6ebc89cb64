//! Files that travel in a request as base64: what models make of a PDF's pages, a recording's seconds, a picture.
//!
//! What a file is, it says itself by how it begins, in whichever field of whichever dialect it stands. Providers document ranges:
//! Anthropic 1,500 to 3,000 tokens of text a page and a picture of each, of 100 pages at most; Google 32 tokens a second of sound, OpenAI
//! 10. What is settled is what they report.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;

use super::walk::PICTURE;

/// A page of a document: its text and its picture.
const PER_PAGE: u64 = 3000;
/// No provider takes more.
const MOST_PAGES: u64 = 100;
/// No page takes fewer bytes.
const LEAST_PAGE: u64 = 512;
/// A page of a document that does not tell how many it has.
const USUAL_PAGE: u64 = 50_000;
const PER_SECOND: u64 = 32;
/// Bytes of a second: 64 kbit of compressed sound, or the poorest that is not.
const SECOND: u64 = 8000;
/// Where a WAV file tells its bytes a second.
const WAVE_RATE: std::ops::Range<usize> = 28..32;
/// Bytes of anything else that make a token.
const BYTES_PER_TOKEN: u64 = 16;
/// As much of a document's packed objects is looked into.
const MOST_UNPACKED: u64 = 1 << 20;

enum Kind {
    Pdf,
    Picture,
    Wave,
    Sound,
    Other,
}

/// The base64 text of a value that may be a `data:` URL.
fn encoded(text: &str) -> &str {
    let head = text.get(..text.len().min(256)).unwrap_or_default();
    head.find(";base64,").map_or(text, |at| &text[at + ";base64,".len()..])
}

fn kind(encoded: &str) -> Kind {
    let begins = |with: &[&str]| with.iter().any(|with| encoded.starts_with(with));
    match () {
        // %PDF-
        () if begins(&["JVBERi0"]) => Kind::Pdf,
        // PNG, JPEG, GIF
        () if begins(&["iVBORw0KGgo", "/9j/", "R0lGOD"]) => Kind::Picture,
        // RIFF, of which WEBP is one
        () if begins(&["UklGR"]) => {
            if encoded.get(..16).is_some_and(|head| head.ends_with("XRUJQ")) {
                Kind::Picture
            } else {
                Kind::Wave
            }
        }
        // ID3 or a frame of MP3, Ogg, FLAC
        () if begins(&["SUQz", "//s", "//v", "//M", "//N", "//I", "T2dnUw", "ZkxhQ"]) => Kind::Sound,
        () => Kind::Other,
    }
}

/// Bytes of what is encoded.
const fn decoded_length(encoded: &str) -> u64 {
    (encoded.len() as u64).saturating_mul(3) / 4
}

/// At most this many tokens, from its length alone.
pub(super) fn most(text: &str) -> u64 {
    let encoded = encoded(text);
    let bytes = decoded_length(encoded);
    match kind(encoded) {
        Kind::Pdf => pages_at_most(bytes) * PER_PAGE,
        Kind::Picture => PICTURE,
        Kind::Wave | Kind::Sound => seconds(bytes, SECOND) * PER_SECOND,
        Kind::Other => other(text),
    }
}

/// About how many tokens it is; never more than [`most`].
pub(super) fn count(text: &str) -> u64 {
    let encoded = encoded(text);
    let bytes = decoded_length(encoded);
    match kind(encoded) {
        Kind::Pdf => {
            let pages = STANDARD.decode(encoded).ok().and_then(|file| pages(&file));
            pages.unwrap_or(bytes / USUAL_PAGE).clamp(1, pages_at_most(bytes)) * PER_PAGE
        }
        Kind::Picture => PICTURE,
        Kind::Wave => seconds(bytes, wave_rate(encoded).max(SECOND)) * PER_SECOND,
        Kind::Sound => seconds(bytes, SECOND) * PER_SECOND,
        Kind::Other => other(text),
    }
}

const fn other(text: &str) -> u64 {
    (text.len() as u64).div_ceil(BYTES_PER_TOKEN)
}

fn seconds(bytes: u64, a_second: u64) -> u64 {
    bytes.div_ceil(a_second).max(1)
}

fn pages_at_most(bytes: u64) -> u64 {
    (bytes / LEAST_PAGE).clamp(1, MOST_PAGES)
}

fn wave_rate(encoded: &str) -> u64 {
    let head = encoded.get(..WAVE_RATE.end.div_ceil(3) * 4).and_then(|head| STANDARD.decode(head).ok());
    let rate = head.and_then(|head| Some(u32::from_le_bytes(head.get(WAVE_RATE)?.try_into().ok()?)));
    rate.map_or(0, u64::from)
}

/// Pages of a PDF, as its objects tell, packed ones too; `None` where they tell of none.
fn pages(file: &[u8]) -> Option<u64> {
    let mut pages = page_objects(file);
    let mut left = MOST_UNPACKED;
    for at in memmem::find_iter(file, b"/ObjStm") {
        let Some(begin) = memmem::find(&file[at..], b"stream").map(|found| at + found + "stream".len()) else { break };
        let packed = &file[begin..];
        let packed = packed.strip_prefix(b"\r\n").or_else(|| packed.strip_prefix(b"\n")).unwrap_or(packed);
        let mut unpacked = Vec::new();
        // What is broken is read as far as it goes.
        let _whole = flate2::read::ZlibDecoder::new(packed).take(left).read_to_end(&mut unpacked);
        left -= (unpacked.len() as u64).min(left);
        pages += page_objects(&unpacked);
        if left == 0 || pages >= MOST_PAGES {
            break;
        }
    }
    (pages > 0).then_some(pages)
}

/// Objects that say `/Type /Page`.
fn page_objects(text: &[u8]) -> u64 {
    let is_page = |at: &usize| {
        let rest = text[at + "/Type".len()..].trim_ascii_start();
        rest.strip_prefix(b"/Page").is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
    };
    memmem::find_iter(text, b"/Type").filter(is_page).count() as u64
}
