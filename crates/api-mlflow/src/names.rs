//! Names and ids that the server makes up.

use uuid::Uuid;

const ADJECTIVES: [&str; 32] = [
    "able", "amber", "bold", "brisk", "calm", "clear", "cool", "crisp", "deft", "eager", "early", "fair", "fast", "fine", "fond", "free",
    "glad", "gold", "keen", "kind", "lean", "light", "loyal", "merry", "mild", "neat", "quick", "quiet", "sharp", "sunny", "warm", "wise",
];
const NOUNS: [&str; 32] = [
    "alder", "ant", "ash", "badger", "bee", "birch", "boat", "brook", "cedar", "crane", "crow", "deer", "elm", "finch", "fox", "gull",
    "hare", "heron", "kite", "lark", "lynx", "maple", "moth", "newt", "oak", "otter", "owl", "pike", "robin", "seal", "swan", "wren",
];

/// 32 hexadecimal digits.
pub(crate) fn hex_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// What nobody guesses.
pub(crate) fn random() -> u128 {
    Uuid::new_v4().as_u128()
}

/// A name to remember, such as `brisk-otter-417`.
pub(crate) fn spare_name() -> String {
    let bytes = Uuid::new_v4().into_bytes();
    let pick = |words: &[&'static str; 32], byte: u8| words[usize::from(byte % 32)];
    let number = u16::from_be_bytes([bytes[2], bytes[3]]) % 1000;
    format!("{}-{}-{number}", pick(&ADJECTIVES, bytes[0]), pick(&NOUNS, bytes[1]))
}

/// An id with dashes, as webhooks and their deliveries have it.
pub(crate) fn uuid() -> String {
    Uuid::new_v4().to_string()
}
