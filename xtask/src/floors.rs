//! The floors: a dependency goes to a lower floor, never sideways and never up, for tests too.

use crate::Package;

/// Every crate of the house, by floor.
const FLOORS: [&[&str]; 6] = [
    &["domain", "stats", "asof"],
    &["ports"],
    &["features", "tracking", "pipelines", "compute", "delivery", "serving", "monitoring", "reactor"],
    &[
        "back-sqlite",
        "back-rowlog",
        "back-objects",
        "back-lmdb",
        "back-query",
        "back-process",
        "back-git",
        "back-python",
        "back-onnx",
        "back-notify",
        "api-mlflow",
        "api-inference",
        "api-native",
        "import-mlflow",
        "web",
    ],
    &["trimtab"],
    &["xtask"],
];

/// The blocks speak of their reactions and workers in its words. It names no block, so this one way sideways makes no circle.
const CORRIDOR: &str = "reactor";

/// The floor of a crate.
fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|crates| crates.contains(&name))
}

/// What is wrong with a dependency, if anything. Crates from elsewhere are below every floor.
fn complaint(from: &str, to: &str, is_dev: bool) -> Option<String> {
    let (lower, upper) = (floor(to)?, floor(from)?);
    let is_fine = lower < upper || (lower == upper && to == CORRIDOR);
    if is_fine {
        return None;
    }
    let way = if lower == upper { "sideways" } else { "up" };
    let kind = if is_dev { "dev-dependency" } else { "dependency" };
    Some(format!("{from} (floor {upper}) has a {kind} {way} on {to} (floor {lower}): a dependency goes to a lower floor"))
}

/// What is wrong with the workspace's dependencies.
pub(crate) fn complaints(packages: &[Package]) -> Vec<String> {
    let mut found = Vec::new();
    for package in packages {
        if floor(&package.name).is_none() {
            found.push(format!("{} has no floor: give it one in xtask/src/floors.rs", package.name));
        }
        found.extend(package.dependencies.iter().filter_map(|to| complaint(&package.name, &to.name, to.is_dev)));
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::Dependency;

    #[test]
    fn a_dependency_goes_down_only() {
        let fine =
            [("ports", "domain"), ("delivery", "stats"), ("web", "tracking"), ("trimtab", "web"), ("xtask", "domain"), ("domain", "serde")];
        for (from, to) in fine {
            assert_eq!(complaint(from, to, false), None);
        }
        for (from, to, way) in [
            ("domain", "ports", "up"),
            ("features", "web", "up"),
            ("web", "trimtab", "up"),
            ("features", "delivery", "sideways"),
            ("api-mlflow", "back-sqlite", "sideways"),
            ("stats", "domain", "sideways"),
        ] {
            for is_dev in [false, true] {
                let said = complaint(from, to, is_dev).unwrap();
                assert!(said.contains(way) && said.contains(from) && said.contains(to), "{said}");
                assert_eq!(said.contains("dev-dependency"), is_dev, "{said}");
            }
        }
    }

    #[test]
    fn blocks_reach_the_reactor_and_the_reactor_no_block() {
        assert_eq!(complaint("monitoring", "reactor", false), None);
        assert!(complaint("reactor", "monitoring", false).unwrap().contains("sideways"));
    }

    #[test]
    fn a_crate_without_a_floor_is_noticed() {
        let stranger = Package {
            name: "utils".into(),
            manifest: String::new(),
            dependencies: vec![Dependency { name: "trimtab".into(), is_dev: false }],
        };
        assert_eq!(complaints(&[stranger]), ["utils has no floor: give it one in xtask/src/floors.rs"]);
    }
}
