//! A scenario as the file says it, and as the acts that are played.

use domain::{Range, Span, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

pub const HOUSE: &str = "h1";
/// Hours that a label arrives late.
const DELAY: i64 = 6;

/// `scenarios/NAME.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it tells, for the reader.
    #[serde(rename = "story")]
    _story: String,
    /// `rollout = ..` of the model, instead of the project's.
    #[serde(default)]
    rollout: Option<String>,
    /// Days before the first.
    past: i64,
    /// Days that are played.
    days: i64,
    phase: Vec<Phase>,
    /// How often events are in the log.
    pub expect: BTreeMap<String, usize>,
}

/// How the world is from a day on.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Phase {
    from: i64,
    temp: f64,
    base: f64,
    slope: f64,
    noise: f64,
}

/// What the outside does, one after the other. An act that was cut short is played again.
#[derive(Clone, Debug)]
pub enum Act {
    Apply,
    Train,
    Clock(Timestamp),
    Label { at: Timestamp, kwh: f64 },
    Push { at: Timestamp, temp: f64 },
    Predict { at: Timestamp },
    Drain,
}

/// Where the scenarios and their logs are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios")
}

pub fn hour(n: i64) -> Timestamp {
    Timestamp::parse("2030-01-01").unwrap() + Span::from_ms(n * 3_600_000)
}

/// Between -1 and 1, the same for the same hour everywhere.
fn noise(hour: i64) -> f64 {
    let mut x = hour.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

impl Scenario {
    pub fn read(name: &str) -> Scenario {
        let text = std::fs::read_to_string(folder().join(format!("{name}.toml"))).unwrap();
        toml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    fn phase(&self, hour: i64) -> &Phase {
        self.phase.iter().rfind(|phase| phase.from * 24 <= hour).unwrap()
    }

    /// Coldest at midnight, warmest at noon.
    fn temp(&self, hour: i64) -> f64 {
        self.phase(hour).temp + 6.0 - (hour.rem_euclid(24) - 12).abs() as f64
    }

    fn kwh(&self, hour: i64) -> f64 {
        let phase = self.phase(hour);
        phase.base + phase.slope * self.temp(hour) + phase.noise * noise(hour)
    }

    /// The project file.
    pub fn project(&self) -> String {
        let text = std::fs::read_to_string(folder().join("trimtab.toml")).unwrap();
        let Some(rollout) = &self.rollout else { return text };
        let lines = text.lines().map(|line| if line.starts_with("rollout ") { format!("rollout = {rollout}") } else { line.to_owned() });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    }

    /// The project with the past in its files.
    pub fn lay_out(&self, root: &Path) {
        let (mut heat, mut weather) = ("house_id,ts,kwh\n".to_owned(), "house_id,observed_at,temp\n".to_owned());
        for n in -24 * self.past..0 {
            writeln!(heat, "{HOUSE},{},{:?}", hour(n), self.kwh(n)).unwrap();
            writeln!(weather, "{HOUSE},{},{:?}", hour(n), self.temp(n)).unwrap();
        }
        std::fs::create_dir_all(root.join("data")).unwrap();
        std::fs::write(root.join("data/heat.csv"), heat).unwrap();
        std::fs::write(root.join("data/weather.csv"), weather).unwrap();
    }

    /// The first model, then each hour: labels that arrive, drain, pushes, predictions, drain.
    pub fn acts(&self) -> Vec<Act> {
        let played = Range::new(hour(0), hour(24 * self.days));
        let mut acts = vec![Act::Apply, Act::Drain, Act::Train, Act::Drain];
        for n in 0..24 * self.days + DELAY {
            acts.push(Act::Clock(hour(n)));
            if played.contains(hour(n - DELAY)) {
                acts.extend([Act::Label { at: hour(n - DELAY), kwh: self.kwh(n - DELAY) }, Act::Drain]);
            }
            if played.contains(hour(n)) {
                acts.extend([Act::Push { at: hour(n), temp: self.temp(n) }, Act::Predict { at: hour(n) }]);
            }
            acts.push(Act::Drain);
        }
        acts
    }
}
