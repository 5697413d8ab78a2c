//! Placeholders in commands: `{in.NAME}`, `{out.NAME}`, `{params.NAME}`. `{{` and `}}` are plain brackets.

use domain::Refusal;

/// What a placeholder may begin with.
const KINDS: [&str; 7] = ["in", "out", "params", "sweep", "each", "trigger", "run"];

/// A piece of a command's argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// `(in | out | params | .., NAME)`.
    Hole(String, String),
}

/// Splits an argument into text and holes.
pub fn parse(text: &str) -> Result<Vec<Piece>, Refusal> {
    let mut pieces = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let tail = &rest[at..];
        if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
            plain.push_str(&tail[..1]);
            rest = after;
            continue;
        }
        let end = tail.find('}').filter(|end| *end > 0);
        let hole = end.and_then(|end| tail[1..end].split_once('.').map(|hole| (end, hole)));
        let Some((end, (kind, name))) = hole.filter(|(_, (kind, _))| KINDS.contains(kind)) else {
            return Err(Refusal::invalid("step/placeholder", format!("`{text}` has a bracket that is no placeholder"))
                .hint("write {in.NAME}, {out.NAME} or {params.NAME}; a plain bracket is doubled: {{ }}"));
        };
        if !plain.is_empty() {
            pieces.push(Piece::Text(std::mem::take(&mut plain)));
        }
        pieces.push(Piece::Hole(kind.into(), name.into()));
        rest = &tail[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(plain));
    }
    Ok(pieces)
}

/// Fills the holes of a command; `fill(kind, name)` gives each value.
pub fn render(command: &[String], fill: impl Fn(&str, &str) -> Option<String>) -> Result<Vec<String>, Refusal> {
    command.iter().map(|argument| render_one(argument, &fill)).collect()
}

fn render_one(argument: &str, fill: &impl Fn(&str, &str) -> Option<String>) -> Result<String, Refusal> {
    let mut text = String::new();
    for piece in parse(argument)? {
        match piece {
            Piece::Text(plain) => text.push_str(&plain),
            Piece::Hole(kind, name) => text.push_str(&fill(&kind, &name).ok_or_else(|| {
                Refusal::invalid("step/placeholder", format!("`{{{kind}.{name}}}` names nothing"))
                    .hint(format!("declare `{name}` under `{kind}`"))
            })?),
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn holes_are_filled_and_brackets_kept() {
        let command = ["a{in.x}b".to_owned(), "{{\"k\": 1}}".to_owned(), "".to_owned(), "ü{params.p}".to_owned()];
        let filled = render(&command, |kind, name| Some(format!("<{kind}:{name}>"))).unwrap();
        assert_eq!(filled, ["a<in:x>b", "{\"k\": 1}", "", "ü<params:p>"]);
        for bad in ["{x}", "{in.}x{", "}", "{other.x}"] {
            assert!(render(&[bad.to_owned()], |_, name| (!name.is_empty()).then(String::new)).is_err(), "{bad}");
        }
    }
}
