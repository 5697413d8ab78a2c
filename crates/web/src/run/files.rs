//! A run's artifacts: the tree of its files, and the bytes of one.

use crate::WebState;
use crate::address::Asked;
use crate::format::bytes;
use crate::link;
use crate::page::PageError;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use domain::RunId;
use domain::entity::Run;
use serde::Serialize;
use tracking::place;

/// Files that are listed, and folders that are looked into.
const FILES: usize = 400;
const FOLDERS: usize = 120;

/// A folder or a file.
#[derive(Debug, Serialize)]
pub(crate) struct Node {
    pub name: String,
    /// Relative to the run's folder.
    pub path: String,
    /// Of a file.
    pub bytes: Option<String>,
    pub href: String,
    pub is_shown: bool,
    pub inside: Vec<Node>,
}

/// The tree, and whether it was cut.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Tree {
    pub nodes: Vec<Node>,
    pub is_cut: bool,
    pub files: usize,
}

/// The folder of a run's files in the artifact store; `None`: they are elsewhere.
pub(crate) fn folder(run: &Run) -> Option<String> {
    place::relative(&run.artifact_uri).filter(|folder| !folder.is_empty())
}

/// The files below a folder, with a link to each file's preview at `page`.
pub(crate) async fn tree(state: &WebState, folder: &str, asked: &Asked, page: &str) -> Result<Tree, PageError> {
    let mut found: Vec<(String, Option<u64>)> = Vec::new();
    let (mut open, mut looked_into, mut is_cut) = (vec![folder.to_owned()], 0, false);
    while let Some(next) = open.pop() {
        if looked_into == FOLDERS || found.len() >= FILES {
            is_cut = true;
            break;
        }
        looked_into += 1;
        for entry in state.artifacts.list(&next).await? {
            let path = entry.path.get(folder.len()..).unwrap_or(&entry.path).trim_start_matches('/').to_owned();
            if entry.is_dir {
                open.push(entry.path);
                found.push((path, None));
            } else if found.len() < FILES {
                found.push((path, Some(entry.bytes)));
            } else {
                is_cut = true;
            }
        }
    }
    found.sort();
    let files = found.iter().filter(|(_, size)| size.is_some()).count();
    let mut nodes = Vec::new();
    for (path, size) in found {
        let href = asked.with("file", &path).address(page) + "#artifacts";
        let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
        let is_shown = asked.one("file") == Some(path.as_str());
        insert(&mut nodes, "", Node { name, path, bytes: size.map(bytes), href, is_shown, inside: Vec::new() });
    }
    Ok(Tree { nodes, is_cut, files })
}

/// Puts a node into its folder, which came before it.
fn insert(nodes: &mut Vec<Node>, above: &str, node: Node) {
    let rest = &node.path[above.len()..];
    let first = rest.split('/').next().unwrap_or(rest);
    let folder = format!("{above}{first}");
    match nodes.iter_mut().find(|known| known.bytes.is_none() && known.path == folder) {
        Some(found) if rest != first => insert(&mut found.inside, &format!("{folder}/"), node),
        _ => nodes.push(node),
    }
}

/// The first file that is worth looking at: a picture, else a note, else a description.
pub(crate) fn first(nodes: &[Node]) -> Option<&str> {
    let mut files = Vec::new();
    collect(nodes, &mut files);
    let ends = |suffixes: &[&str]| files.iter().copied().find(|path| suffixes.iter().any(|suffix| path.to_lowercase().ends_with(suffix)));
    ends(&[".png", ".jpg", ".jpeg", ".webp"]).or_else(|| ends(&[".md", ".csv"])).or_else(|| ends(&["mlmodel", ".txt", ".json", ".yaml"]))
}

fn collect<'a>(nodes: &'a [Node], files: &mut Vec<&'a str>) {
    for node in nodes {
        if node.bytes.is_some() {
            files.push(&node.path);
        }
        collect(&node.inside, files);
    }
}

/// Types of pictures that a browser is told of. All else is bytes to be kept.
pub(crate) fn picture_type(path: &str) -> Option<&'static str> {
    let suffix = path.rsplit_once('.')?.1.to_lowercase();
    match suffix.as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "gif" => Some("image/gif"),
        "webp" => Some("image/webp"),
        "svg" => Some("image/svg+xml"),
        _ => None,
    }
}

/// `GET /runs/ID/file?path=…`: a picture to be looked at, or bytes to be kept. Whatever a run logged, no script in it runs here.
pub(crate) async fn serve(
    State(state): State<WebState>,
    Path(id): Path<String>,
    Query(pairs): Query<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    let asked = Asked::new(pairs);
    let run = state.read(move |state| state.runs.run(&RunId::new(id.as_str()))?.ok_or_else(|| PageError::missing("run", &id))).await?;
    let path = asked.one("path").unwrap_or_default().to_owned();
    let missing = || PageError::missing("artifact", &path);
    let whole = folder(&run).and_then(|folder| place::join(&folder, &path)).ok_or_else(missing)?;
    let (size, stream) = state.artifacts.get(&whole).await?.ok_or_else(missing)?;
    let kind = picture_type(&path);
    let name: String =
        path.rsplit('/').next().unwrap_or("file").chars().filter(|c| c.is_ascii_graphic() && !"\"\\;".contains(*c)).collect();
    let place = if kind.is_some() { "inline" } else { "attachment" };
    let disposition = HeaderValue::from_str(&format!("{place}; filename=\"{name}\"")).unwrap_or(HeaderValue::from_static("attachment"));
    let mut answer = Body::from_stream(stream).into_response();
    let sandboxed = HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; sandbox");
    let same_site = HeaderValue::from_static("same-origin");
    let headers: [(HeaderName, HeaderValue); 6] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind.unwrap_or("application/octet-stream"))),
        (header::CONTENT_LENGTH, size.into()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_SECURITY_POLICY, sandboxed),
        (HeaderName::from_static("cross-origin-resource-policy"), same_site),
    ];
    answer.headers_mut().extend(headers.map(|(name, value)| (Some(name), value)));
    Ok(answer)
}

/// Where a file's bytes are.
pub(crate) fn address(run: &RunId, path: &str) -> String {
    format!("{}/file?path={}", link::run(run), link::part(path))
}
