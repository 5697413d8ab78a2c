//! `trimtab init`: a project file to begin with.

use super::show;
use anyhow::Context;
use domain::Refusal;
use serde_json::json;
use std::path::Path;

const BEGIN: &str = r#"[project]
name   = "NAME"
python = "python3"          # runs Python steps and model workers; a virtual environment: ".venv/bin/python"

# One file, six blocks, each of them optional. `trimtab plan` shows what would change, `trimtab apply` makes it so.

[pipeline.hello]
on = ["api"]
[pipeline.hello.step.greet]
run = ["sh", "-c", "echo hello > {out.text}"]
out = { text = "hello.txt" }
"#;

/// Writes `trimtab.toml` into the folder; refuses to replace one.
pub fn init(folder: &Path, json: bool) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let file = folder.join("trimtab.toml");
    if file.exists() {
        return Err(Refusal::conflict("project/exists", format!("{} is there already", file.display())).hint("trimtab plan").into());
    }
    let absolute = std::path::absolute(folder)?;
    let name: String = absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '-').collect();
    std::fs::write(&file, BEGIN.replace("NAME", if name.is_empty() { "project" } else { &name })).context("writing the project file")?;
    show::print(&json!({ "file": file, "next": "trimtab apply && trimtab pipeline run hello" }), json)?;
    Ok(())
}
