//! Which kind of picture it is, in the one spelling that vendors take.

use std::borrow::Cow;

/// A kind as it is known: in small letters, without parameters, and JPEGs by their own name and not by the ending of their files.
pub(super) fn known(media_type: &str) -> Cow<'_, str> {
    let kind = media_type.split(';').next().unwrap_or_default().trim();
    let kind = if kind.contains(|letter: char| letter.is_ascii_uppercase()) {
        Cow::Owned(kind.to_ascii_lowercase())
    } else {
        Cow::Borrowed(kind)
    };
    if kind == "image/jpg" { Cow::Borrowed("image/jpeg") } else { kind }
}

#[cfg(test)]
mod tests {
    use super::known;

    #[test]
    fn a_kind_has_one_spelling() {
        for (said, is) in [
            ("image/png", "image/png"),
            ("image/jpg", "image/jpeg"),
            ("IMAGE/JPG", "image/jpeg"),
            ("image/PNG", "image/png"),
            ("image/png;charset=utf-8", "image/png"),
            ("image/webp ; q=1", "image/webp"),
            ("", ""),
        ] {
            assert_eq!(known(said), is);
        }
    }
}
