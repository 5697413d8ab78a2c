//! Sets of runs by number.

/// A bit a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct RunSet {
    words: Vec<u64>,
}

impl RunSet {
    pub(super) fn insert(&mut self, num: i64) {
        let (at, bit) = place(num);
        if at >= self.words.len() {
            // SQLite gives numbers in turn, so that the greatest is about how many runs there are.
            self.words.resize(at + 1, 0);
        }
        self.words[at] |= bit;
    }

    pub(crate) fn has(&self, num: i64) -> bool {
        let (at, bit) = place(num);
        self.words.get(at).is_some_and(|word| word & bit != 0)
    }

    /// The lowest of the runs from a number on.
    pub(crate) fn next(&self, num: i64) -> Option<i64> {
        let (at, bit) = place(num);
        let first = self.words.get(at)? & !(bit - 1);
        let rest = self.words.iter().enumerate().skip(at + 1).map(|(at, word)| (at, *word));
        let (at, word) = std::iter::once((at, first)).chain(rest).find(|(_, word)| *word != 0)?;
        Some(at as i64 * 64 + i64::from(word.trailing_zeros()))
    }

    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Keeps what is in the other one too.
    pub(super) fn cut(&mut self, other: &RunSet) {
        self.words.truncate(other.words.len());
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= other);
    }

    pub(super) fn remove_all(&mut self, other: &RunSet) {
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word &= !other);
    }

    /// Upwards.
    pub(super) fn iter(&self) -> impl Iterator<Item = i64> {
        let bits = |word: u64| (0..64).filter(move |bit| word >> bit & 1 == 1);
        self.words.iter().enumerate().flat_map(move |(at, word)| bits(*word).map(move |bit| at as i64 * 64 + bit))
    }
}

fn place(num: i64) -> (usize, u64) {
    (num as usize / 64, 1 << (num % 64))
}
