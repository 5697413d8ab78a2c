//! Paths that clients send.

use domain::Refusal;
use tracking::place;

/// A path within the artifact store. What climbs, is absolute, has another separator or a fragment is refused, also if a
/// second decoding would make it so.
pub(crate) fn checked(path: &str) -> Result<String, Refusal> {
    let is_drive = |path: &str| matches!(path.as_bytes(), [drive, b':', ..] if drive.is_ascii_alphabetic());
    let climbs = |path: &str| {
        path.starts_with('/')
            || path.starts_with("file:")
            || is_drive(path)
            || path.contains(['\\', '#', '\0'])
            || path.split('/').any(|part| part == "..")
    };
    let mut decoded = path.to_owned();
    while !climbs(&decoded) {
        let next = percent_decoded(&decoded);
        if next == decoded {
            return place::join("", path).ok_or_else(|| invalid(path));
        }
        decoded = next;
    }
    Err(invalid(path))
}

pub(crate) fn invalid(path: &str) -> Refusal {
    Refusal::invalid("artifact/path", format!("Invalid path `{path}`")).hint("give a relative path without `..`, `\\` and `#`")
}

/// Text with its `%XX` decoded; what is no text afterwards stays as it is.
fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if bytes[at] == b'%' => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a", "a/b.txt", "größe/日本", "a..b", "100%", "a%20b", "a b", "..."] {
            assert!(checked(good).is_ok(), "{good}");
        }
        for bad in
            ["..", "../a", "a/../b", "/etc/passwd", "a\\b", "a#b", "%2e%2e/a", "a/%252e%252e/b", "%2Fetc", "a/%5c", "a\0b", "./a", "C:/x"]
        {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }
}
