//! Progress on standard error: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often a line is written where nobody watches.
const QUIET: Duration = Duration::from_secs(10);
const BAR: usize = 30;

/// A long piece of work.
pub struct Progress {
    what: String,
    terminal: bool,
    began: Instant,
    told: Instant,
}

impl Progress {
    /// Nothing is written yet.
    pub fn new(what: &str) -> Progress {
        let now = Instant::now();
        Progress { what: what.into(), terminal: std::io::stderr().is_terminal(), began: now, told: now }
    }

    /// A line of its own.
    pub fn say(&self, text: &str) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// The next piece of work.
    pub fn begin(&mut self, what: &str) {
        self.what = what.into();
        self.began = Instant::now();
        self.told = self.began;
        if !self.terminal {
            self.say(what);
        }
    }

    /// Whether it is time to tell again; if so, it counts as told.
    fn is_due(&mut self) -> bool {
        let every = if self.terminal { Duration::from_millis(100) } else { QUIET };
        let due = self.told.elapsed() >= every;
        if due {
            self.told = Instant::now();
        }
        due
    }

    /// How much of it is done, from 0 to 1, and where it is.
    pub fn at(&mut self, done: f64, place: &str) {
        if !self.is_due() {
            return;
        }
        let mut err = std::io::stderr();
        let _ = if self.terminal {
            let full = (done.clamp(0.0, 1.0) * BAR as f64) as usize;
            write!(err, "\r{} [{}{}] {place} {:>4.0}%", self.what, "=".repeat(full), " ".repeat(BAR - full), done * 100.0)
                .and_then(|()| err.flush())
        } else {
            writeln!(err, "{}: {place}, {:.0} % after {} s", self.what, done * 100.0, self.began.elapsed().as_secs())
        };
    }

    /// How much there is so far, when nobody knows of how much.
    pub fn count(&mut self, so_far: &str) {
        if !self.is_due() {
            return;
        }
        let mut err = std::io::stderr();
        let _ = if self.terminal {
            write!(err, "\r{}: {so_far}", self.what).and_then(|()| err.flush())
        } else {
            writeln!(err, "{}: {so_far} after {} s", self.what, self.began.elapsed().as_secs())
        };
    }

    /// Clears the bar.
    pub fn end(&self) {
        if self.terminal {
            let mut err = std::io::stderr();
            let _ = write!(err, "\r{}\r", " ".repeat(self.what.len() + BAR + 60)).and_then(|()| err.flush());
        }
    }
}
