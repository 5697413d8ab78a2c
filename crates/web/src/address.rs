//! What an address asks for: every state of a page is in its query, so a link holds a view.

use crate::link::part;

/// The names and values of a query, in order. A name may come several times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Asked(Vec<(String, String)>);

impl Asked {
    /// Blank values are as good as none: forms send them.
    pub(crate) fn new(pairs: Vec<(String, String)>) -> Self {
        Asked(pairs.into_iter().filter(|(_, value)| !value.trim().is_empty()).collect())
    }

    /// The last value of a name.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Every value of a name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Names that come several times or hold several values between commas: `runs=a,b&runs=c`.
    pub(crate) fn listed(&self, name: &str) -> Vec<String> {
        let mut found: Vec<String> = Vec::new();
        for one in self.all(name).flat_map(|value| value.split(',')).map(str::trim).filter(|one| !one.is_empty()) {
            if !found.iter().any(|known| known == one) {
                found.push(one.into());
            }
        }
        found
    }

    pub(crate) fn has(&self, name: &str, value: &str) -> bool {
        self.all(name).any(|known| known == value)
    }

    /// Without these names.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        Asked(self.0.iter().filter(|(name, _)| !names.contains(&name.as_str())).cloned().collect())
    }

    /// With one value instead of those that a name has.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        self.without(&[name]).and(name, value)
    }

    /// With one value more.
    pub(crate) fn and(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.0.push((name.into(), value.into()));
        more
    }

    /// Names and values, for hidden fields of a form.
    pub(crate) fn pairs(&self) -> Vec<(String, String)> {
        self.0.clone()
    }

    /// `PATH?name=value&...`.
    pub(crate) fn address(&self, path: &str) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{}={}", part(name), part(value))).collect();
        if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_changed_one_name_at_a_time() {
        let pairs = [("q", "a&b"), ("col", "metrics.mae"), ("col", "params.lr"), ("filter", " ")];
        let asked = Asked::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        assert_eq!(asked.address("/runs"), "/runs?q=a%26b&col=metrics.mae&col=params.lr");
        assert_eq!(asked.with("col", "status").without(&["q"]).address("/runs"), "/runs?col=status");
        assert_eq!((asked.one("filter"), asked.all("col").count(), asked.has("col", "params.lr")), (None, 2, true));
        let runs = Asked::default().and("runs", "a,b").and("runs", "b, c,");
        assert_eq!(runs.listed("runs"), ["a", "b", "c"]);
        assert_eq!(Asked::default().address("/runs"), "/runs");
    }
}
