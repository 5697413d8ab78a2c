#![allow(clippy::unwrap_used)]
//! Real data: what is learnt from January and February, and where March leaves it. The figures are SciPy's
//! (`wasserstein_distance` over the reference's standard deviation) on the same windows.

use domain::spec::DriftSpec;
use domain::{Scalar, Span, Timestamp, Verdict};
use monitoring::reference::{Column, Reference};
use monitoring::windows::Calendar;

struct Hour {
    time: Timestamp,
    hr: f64,
    temp: f64,
    hum: f64,
}

fn hours() -> Vec<Hour> {
    let new_year = Timestamp::parse("2011-01-01").unwrap();
    let rows = include_str!("data/bikeshare_spring.csv").lines().filter(|line| !line.starts_with('#'));
    let number = |line: &str, at: usize| line.split(',').nth(at).unwrap().parse::<f64>().unwrap();
    rows.map(|line| Hour {
        time: new_year + Span::from_ms(number(line, 0) as i64 * 3_600_000),
        hr: number(line, 1),
        temp: number(line, 2),
        hum: number(line, 3),
    })
    .collect()
}

#[test]
fn temperature_leaves_the_reference_in_the_week_of_15_march_and_the_hour_of_day_never_does() {
    let day = |text| Timestamp::parse(text).unwrap();
    let calendar = Calendar { origin: day("2011-03-01"), size: Span::days(7) };
    let (training, live): (Vec<_>, Vec<_>) = hours().into_iter().partition(|hour| hour.time < day("2011-02-22"));
    let column = |of: fn(&Hour) -> f64| Column::Numbers(training.iter().map(|hour| Some(of(hour))).collect());
    let features =
        vec![("hr".into(), column(|hour| hour.hr)), ("temp".into(), column(|hour| hour.temp)), ("hum".into(), column(|hour| hour.hum))];
    let times: Vec<_> = training.iter().map(|hour| hour.time).collect();
    let reference =
        Reference::learn("January and February".into(), &DriftSpec::default(), calendar, &times, features, column(|hour| hour.temp));
    let [hr, temp, _] = &reference.features[..] else { panic!() };
    assert_eq!(temp.threshold_what, "greatest of 7 reference windows");
    assert!((temp.threshold - 1.263).abs() < 0.0006, "{}", temp.threshold);
    assert_eq!(hr.threshold, 0.1);

    let mut moves = Vec::new();
    let mut first_moved = None;
    let mut greatest_hr = 0.0f64;
    for week in 0..4 {
        let from = day("2011-03-01") + Span::days(7 * week);
        let rows = live.iter().filter(|hour| hour.time >= from && hour.time < from + Span::days(7));
        let (hours, temps): (Vec<_>, Vec<_>) = rows.map(|hour| (Scalar::Float(hour.hr), Scalar::Float(hour.temp))).unzip();
        greatest_hr = greatest_hr.max(hr.compare(hours.iter()).value.unwrap());
        let drift = temp.compare(temps.iter());
        moves.push((drift.value.unwrap() * 1000.0).round() / 1000.0);
        if drift.verdict == Verdict::Fail {
            first_moved = first_moved.or(Some(from));
        }
    }
    assert_eq!(moves, [0.659, 1.021, 1.721, 0.726]);
    assert_eq!(first_moved, Some(day("2011-03-15")));
    assert!(greatest_hr < 0.03, "{greatest_hr}");
}
