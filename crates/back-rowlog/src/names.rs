//! Names on disk. A stream is `KIND/NAME`; its folder spells bytes that a file system may not like as `%XX`.

use domain::{Range, Refusal, Timestamp};
use std::ffi::OsStr;
use std::path::PathBuf;

/// The folder of a stream.
pub(crate) fn folder(stream: &str) -> Result<PathBuf, Refusal> {
    let usable = |part: &str| !part.is_empty() && part.len() <= 80;
    let Some((kind, name)) = stream.split_once('/').filter(|(kind, name)| usable(kind) && usable(name)) else {
        return Err(
            Refusal::invalid("stream/name", format!("`{stream}` does not name a row stream")).hint("KIND/NAME, each at most 80 bytes")
        );
    };
    Ok(PathBuf::from(encode(kind)).join(encode(name)))
}

/// The stream of a folder.
pub(crate) fn stream(kind: &OsStr, name: &OsStr) -> Option<String> {
    Some(format!("{}/{}", decode(kind.to_str()?)?, decode(name.to_str()?)?))
}

fn encode(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first != b'%' {
            bytes.push(*first);
            rest = tail;
            continue;
        }
        let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).ok()
}

/// `0000000002-168-FROM-TO-0.parquet`.
pub(crate) struct SegmentName {
    pub(crate) number: u64,
    pub(crate) rows: u64,
    pub(crate) time: Range,
    pub(crate) lost: u64,
}

impl SegmentName {
    pub(crate) fn text(&self) -> String {
        // Times before 1970 are negative: `n5` stands for -5.
        let ms = |at: Timestamp| if at.ms() < 0 { format!("n{}", at.ms().unsigned_abs()) } else { at.ms().to_string() };
        format!("{:010}-{}-{}-{}-{}.parquet", self.number, self.rows, ms(self.time.from), ms(self.time.to), self.lost)
    }

    pub(crate) fn parse(name: &str) -> Option<SegmentName> {
        let ms = |text: &str| match text.strip_prefix('n') {
            Some(digits) => digits.parse::<i64>().ok().map(|ms| Timestamp::from_ms(-ms)),
            None => text.parse().ok().map(Timestamp::from_ms),
        };
        let parts: Vec<&str> = name.strip_suffix(".parquet")?.split('-').collect();
        let [number, rows, from, to, lost] = parts[..] else { return None };
        Some(SegmentName {
            number: number.parse().ok()?,
            rows: rows.parse().ok()?,
            time: Range::new(ms(from)?, ms(to)?),
            lost: lost.parse().ok()?,
        })
    }
}
