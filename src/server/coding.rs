//! Bodies that clients sent compressed: decoded in the order they were encoded in, never to more than a body may be.

use std::io::Read;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use bytes::Bytes;

use crate::fault::{Refusal, RefusalKind};

/// What is taken, as `accept-encoding` says it.
pub(super) const ACCEPTED: &str = "gzip, deflate, zstd, br";
/// The status of a body in another coding.
pub(super) const UNKNOWN: u16 = 415;
/// Bytes read at once.
const PIECE: usize = 32 << 10;
/// Codings of one body; more than one is rare, and each costs its time again.
const MOST: usize = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    Gzip,
    Deflate,
    Zstd,
    Brotli,
}

/// The codings of a body, the outermost first; none of one that is as it is.
///
/// # Errors
/// One of them is unknown.
pub(super) fn of(headers: &HeaderMap) -> Result<Vec<Coding>, Refusal> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|name| !name.is_empty()) {
            codings.push(match name.to_ascii_lowercase().as_str() {
                "identity" => continue,
                "gzip" | "x-gzip" => Coding::Gzip,
                "deflate" => Coding::Deflate,
                "zstd" => Coding::Zstd,
                "br" => Coding::Brotli,
                _ => return Err(refused("the body's `content-encoding` is not one that is taken")),
            });
        }
    }
    if codings.len() > MOST {
        return Err(refused(&format!("the body is encoded {} times; {MOST} are taken", codings.len())));
    }
    codings.reverse();
    Ok(codings)
}

fn refused(what: &str) -> Refusal {
    let message = format!("{what}; send it as it is, or as one of {ACCEPTED}");
    Refusal { status: UNKNOWN, ..Refusal::new(RefusalKind::InvalidRequest, message) }
}

/// The body as it was.
///
/// # Errors
/// It is not in this coding, or has more than `limit` bytes: `too_large`.
pub(super) fn decode(
    codings: &[Coding],
    body: &Bytes,
    limit: usize,
    too_large: impl Fn() -> Refusal,
) -> Result<Bytes, Refusal> {
    codings.iter().try_fold(body.clone(), |body, coding| one(*coding, &body, limit, &too_large))
}

fn one(coding: Coding, body: &[u8], limit: usize, too_large: &impl Fn() -> Refusal) -> Result<Bytes, Refusal> {
    match coding {
        Coding::Gzip => all(flate2::read::MultiGzDecoder::new(body), limit, coding, too_large),
        // Two things go by this name; the one the standard means has a checksum.
        Coding::Deflate if body.first().is_some_and(|first| first & 0x0f == 8) => {
            all(flate2::read::ZlibDecoder::new(body), limit, coding, too_large)
        }
        Coding::Deflate => all(flate2::read::DeflateDecoder::new(body), limit, coding, too_large),
        Coding::Zstd => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(body).map_err(|fault| broken(coding, &fault))?;
            all(decoder, limit, coding, too_large)
        }
        Coding::Brotli => all(brotli_decompressor::Decompressor::new(body, PIECE), limit, coding, too_large),
    }
}

fn all(mut from: impl Read, limit: usize, coding: Coding, too_large: &impl Fn() -> Refusal) -> Result<Bytes, Refusal> {
    let (mut whole, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        let read = from.read(&mut piece).map_err(|fault| broken(coding, &fault))?;
        if read == 0 {
            return Ok(whole.into());
        }
        if whole.len() + read > limit {
            return Err(too_large());
        }
        whole.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
}

fn broken(coding: Coding, fault: &dyn std::fmt::Display) -> Refusal {
    let message = format!("the body is not {coding:?} as its `content-encoding` says: {fault}");
    Refusal::new(RefusalKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use axum::http::HeaderValue;

    use super::*;

    fn large() -> Refusal {
        Refusal::new(RefusalKind::TooLarge, "large")
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn every_coding_comes_back_and_no_bomb_does() {
        let text = br#"{"model":"g"}"#;
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
        zlib.write_all(text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        raw.write_all(text).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(text.as_slice(), ruzstd::encoding::CompressionLevel::Fastest);
        // What the `brotli` command makes of it: one block that is not compressed.
        let mut brotli = vec![0x0b, 0x06, 0x80];
        brotli.extend_from_slice(text);
        brotli.push(0x03);
        for (coding, bytes) in [
            (Coding::Gzip, gzip(text)),
            (Coding::Deflate, zlib.finish().unwrap().into()),
            (Coding::Deflate, raw.finish().unwrap().into()),
            (Coding::Zstd, zstd.into()),
            (Coding::Brotli, brotli.into()),
        ] {
            assert_eq!(decode(&[coding], &bytes, 100, large).unwrap(), text.as_slice(), "{coding:?}");
            assert_eq!(decode(&[coding], &bytes, 5, large).unwrap_err().kind, RefusalKind::TooLarge, "{coding:?}");
            let cut = bytes.slice(..bytes.len() / 2);
            assert_eq!(
                decode(&[coding], &cut, 100, large).unwrap_err().kind,
                RefusalKind::InvalidRequest,
                "{coding:?}"
            );
        }
        let bomb = gzip(&vec![0; 20 << 20]);
        assert!(bomb.len() < 100 << 10);
        assert_eq!(decode(&[Coding::Gzip], &bomb, 1 << 20, large).unwrap_err().kind, RefusalKind::TooLarge);
        let twice = gzip(&gzip(text));
        assert_eq!(decode(&[Coding::Gzip, Coding::Gzip], &twice, 100, large).unwrap(), text.as_slice());
    }

    #[test]
    fn codings_are_read_outermost_first() {
        let of = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(text));
            super::of(&headers).map_err(|why| why.status)
        };
        assert_eq!(of("zstd"), Ok(vec![Coding::Zstd]));
        assert_eq!(of("identity, X-GZIP ,br"), Ok(vec![Coding::Brotli, Coding::Gzip]));
        assert_eq!(of(""), Ok(vec![]));
        assert_eq!(of("compress"), Err(UNKNOWN));
        assert_eq!(of("gzip, gzip, gzip"), Err(UNKNOWN));
    }
}
