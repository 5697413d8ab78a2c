//! Where this process's control group is.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of this process's own group.
pub(super) fn own_folder(proc: &Path) -> Result<PathBuf, String> {
    let read = |name: &str| fs::read_to_string(proc.join("self").join(name)).map_err(|e| format!("/proc/self/{name} cannot be read: {e}"));
    let groups = read("cgroup")?;
    let Some(path) = groups.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Err("this system has no cgroup v2".into());
    };
    if let Some(old) = groups.lines().find(|line| line.split(':').nth(1).is_some_and(|names| names.split(',').any(|name| name == "memory")))
    {
        return Err(format!("memory is under cgroup v1 on this system ({old}); boot with systemd.unified_cgroup_hierarchy=1 for v2"));
    }
    let mounts = read("mountinfo")?;
    let folder = mounts.lines().find_map(|line| below(line, Path::new(path)));
    folder.ok_or_else(|| format!("the cgroup v2 file system is not mounted where it shows {path}"))
}

/// The folder of a group, if a line of `mountinfo` mounts it: `36 25 0:30 ROOT POINT OPTIONS [MORE] - TYPE SOURCE OPTIONS`.
fn below(line: &str, path: &Path) -> Option<PathBuf> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (plain(fields.next()?), plain(fields.next()?));
    let is_cgroup2 = system.split(' ').next() == Some("cgroup2");
    let rest = path.strip_prefix(root).ok().filter(|_| is_cgroup2)?;
    // The path of the mount itself has no end of its own.
    Some(if rest.as_os_str().is_empty() { PathBuf::from(point) } else { Path::new(&point).join(rest) })
}

/// A name as it is: blanks and the like are written as octal numbers there.
fn plain(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |name, (written, meant)| name.replace(written, meant))
}

/// When a living process was started, in clock ticks since the machine was; with its number, its name for as long as the machine is up.
pub(super) fn started(proc: &Path, pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(proc.join(pid.to_string()).join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    // One that nobody has waited for yet is gone all the same.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_read_with_its_root_and_its_blanks() {
        let line = r"35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(below(line, Path::new("/user.slice/x.scope")), Some("/sys/fs/cgroup/user.slice/x.scope".into()));
        assert_eq!(below(line, Path::new("/")), Some("/sys/fs/cgroup".into()));
        let part = r"35 24 0:30 /box /mnt/a\040b rw - cgroup2 none rw";
        assert_eq!(below(part, Path::new("/box/in")), Some("/mnt/a b/in".into()));
        assert_eq!(below(part, Path::new("/other")), None);
        assert_eq!(below(r"35 24 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", Path::new("/")), None);
    }
}
