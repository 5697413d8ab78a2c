//! The example's data: a year of hours, and the folder that a project is.

use anyhow::Context;
use domain::{Span, Timestamp};
use rust_embed::RustEmbed;
use std::fmt::Write as _;
use std::path::Path;

/// The example as it is in the repository.
#[derive(RustEmbed)]
#[folder = "../../examples/bikeshare"]
struct Example;

/// The only entity.
pub const CITY: &str = "dc";

/// One hour of the year.
#[derive(Clone, Debug, PartialEq)]
pub struct Hour {
    pub at: Timestamp,
    pub holiday: i64,
    pub workingday: i64,
    pub weather_code: i64,
    pub temp: f64,
    pub hum: f64,
    pub windspeed: f64,
    pub bikers: i64,
}

fn file(name: &str) -> anyhow::Result<String> {
    let file = Example::get(name).with_context(|| format!("the example has no {name}"))?;
    String::from_utf8(file.data.into_owned()).with_context(|| format!("{name} is not text"))
}

/// All hours, in order. Time is the first of January at midnight, plus day of the year and hour.
pub fn hours() -> anyhow::Result<Vec<Hour>> {
    let text = file("data/bikeshare_2011.csv")?;
    let mut lines = text.lines();
    let names: Vec<String> = lines.next().unwrap_or_default().split(',').map(unquote).collect();
    let origin = Timestamp::parse("2011-01-01").context("the first instant")?;
    lines.map(|line| hour(&names, line, origin).with_context(|| format!("reading `{line}`"))).collect()
}

fn unquote(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

fn hour(names: &[String], line: &str, origin: Timestamp) -> anyhow::Result<Hour> {
    let values: Vec<String> = line.split(',').map(unquote).collect();
    let value = |name: &str| -> anyhow::Result<&str> {
        let index = names.iter().position(|known| known == name).with_context(|| format!("no column {name}"))?;
        Ok(values.get(index).map(String::as_str).unwrap_or_default())
    };
    let whole = |name: &str| -> anyhow::Result<i64> { Ok(value(name)?.parse()?) };
    let number = |name: &str| -> anyhow::Result<f64> { Ok(value(name)?.parse()?) };
    let weather_code = match value("weathersit")? {
        "clear" => 0,
        "cloudy/misty" => 1,
        "light rain/snow" => 2,
        "heavy rain/snow" => 3,
        other => anyhow::bail!("weather `{other}`"),
    };
    Ok(Hour {
        at: origin + Span::days(whole("day")? - 1) + Span::from_ms(whole("hr")? * 3_600_000),
        holiday: whole("holiday")?,
        workingday: whole("workingday")?,
        weather_code,
        temp: number("temp")?,
        hum: number("hum")?,
        windspeed: number("windspeed")?,
        bikers: whole("bikers")?,
    })
}

/// Lays the project out: its file with the interpreter, the training program, and the hours before `until` as the past.
pub fn lay_out(folder: &Path, python: &str, hours: &[Hour], until: Timestamp) -> anyhow::Result<()> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).with_context(|| format!("making {}", data.display()))?;
    let toml = file("trimtab.toml")?.replace("python = \"python3\" ", &format!("python = {python:?} "));
    let past: Vec<&Hour> = hours.iter().filter(|hour| hour.at < until).collect();
    let mut rides = String::from("city_id,ts,bikers\n");
    let mut weather = String::from("city_id,observed_at,received_at,weather_code,temp,hum,windspeed\n");
    let mut days = String::from("city_id,day,workingday,holiday\n");
    let mut last_day = None;
    for hour in past {
        let Hour { at, weather_code, temp, hum, windspeed, bikers, .. } = hour;
        writeln!(rides, "{CITY},{at},{bikers}")?;
        writeln!(weather, "{CITY},{at},{at},{weather_code},{temp:?},{hum:?},{windspeed:?}")?;
        if last_day != Some(at.day()) {
            last_day = Some(at.day());
            writeln!(days, "{CITY},{},{},{}", midnight(*at), hour.workingday, hour.holiday)?;
        }
    }
    let files = [
        ("trimtab.toml", toml),
        ("train.py", file("train.py")?),
        ("README.md", file("README.md")?),
        ("data/README.md", file("data/README.md")?),
        ("data/rides.csv", rides),
        ("data/weather.csv", weather),
        ("data/days.csv", days),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

/// The beginning of an instant's day.
pub fn midnight(at: Timestamp) -> Timestamp {
    at.floor(Timestamp::from_ms(0), Span::days(1))
}
