//! Secrets that the project file points at.

use std::path::Path;

/// The value behind `env:NAME` or `file:PATH` (relative to `root`); an error names the place, never the value.
pub fn secret(root: &Path, reference: &str) -> Result<String, String> {
    let (value, place) = if let Some(name) = reference.strip_prefix("env:") {
        let value =
            std::env::var(name).map_err(|_| format!("environment variable {name} is not set; set it and start the server again"))?;
        (value, format!("environment variable {name}"))
    } else if let Some(path) = reference.strip_prefix("file:") {
        let value = std::fs::read_to_string(root.join(path)).map_err(|e| format!("file {path} cannot be read: {e}"))?;
        (value, format!("file {path}"))
    } else {
        return Err("a secret is written env:NAME or file:PATH, never in the file itself".into());
    };
    let value = value.trim();
    if value.is_empty() { Err(format!("{place} is empty")) } else { Ok(value.to_owned()) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::secret;

    #[test]
    fn a_secret_is_looked_up_and_never_said() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hook"), "s3cret\n").unwrap();
        std::fs::write(folder.path().join("none"), "\n").unwrap();
        assert_eq!(secret(folder.path(), "file:hook").as_deref(), Ok("s3cret"));
        for (reference, text) in
            [("s3cret", "never in the file"), ("file:none", "is empty"), ("file:x", "cannot be read"), ("env:NO_SUCH_NAME", "not set")]
        {
            let why = secret(folder.path(), reference).unwrap_err();
            assert!(why.contains(text) && !why.contains("s3cret"), "{why}");
        }
    }
}
