//! Artifacts that come in parts, in any order and several at once: each part is an artifact of its own until the last is there.
//!
//! An upload is the folder `uploads/ID`: `target` names where the artifact will be, `N` is part N. There is no other state, so that
//! an upload goes on after a restart. What nobody completes is freed by the collection of garbage.

use bytes::Bytes;
use domain::{Fault, Refusal, Timestamp};
use futures::stream::{self, StreamExt, TryStreamExt};
use ports::{ArtifactExt, ArtifactStore, ByteStream, CommitError};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, OnceLock};

/// Where uploads wait.
const FOLDER: &str = "uploads";

/// Parts that an upload may have; as many as the stores of clouds take.
pub const MOST_PARTS: u32 = 10_000;

/// Hours that an upload may take before it counts as given up.
const GIVEN_UP_MS: i64 = 7 * 24 * 3_600_000;

/// A part, as the client names it when it completes an upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1.
    pub number: u32,
    /// What the answer to the part's upload said.
    pub etag: String,
}

/// An upload's id: when it began, in milliseconds, then something that nobody guesses.
pub fn id(began: Timestamp, random: u128) -> String {
    format!("{:012x}{random:032x}", began.ms().max(0))
}

/// Begins an upload of an artifact, which is to be at `target`. Refuses a number of parts that no upload has.
pub async fn begin(artifacts: &dyn ArtifactStore, id: &str, target: &str, parts: u32) -> Result<(), CommitError> {
    if !(1..=MOST_PARTS).contains(&parts) {
        let what = format!("an upload has 1 to {MOST_PARTS} parts, not {parts}");
        return Err(Refusal::invalid("upload/parts", what).hint("send larger parts").into());
    }
    artifacts.put_bytes(&format!("{}/target", folder(id)?), Bytes::copy_from_slice(target.as_bytes())).await?;
    Ok(())
}

/// Takes a part and gives its ETag. A part that is sent again replaces what was sent before.
pub async fn put(artifacts: &dyn ArtifactStore, id: &str, number: u32, body: ByteStream) -> Result<String, CommitError> {
    target(artifacts, id).await?;
    if !(1..=MOST_PARTS).contains(&number) {
        return Err(Refusal::invalid("upload/parts", format!("parts are numbered from 1 to {MOST_PARTS}")).into());
    }
    Ok(artifacts.put(&format!("{}/{number}", folder(id)?), body).await?.digest.as_str().to_owned())
}

/// Puts the parts together, in the order of their numbers, and gives the artifact's path; all or nothing. Refused if a part is missing or
/// is not the one that its ETag names.
pub async fn complete(artifacts: &Arc<dyn ArtifactStore>, id: &str, expected: &str, mut parts: Vec<Part>) -> Result<(), CommitError> {
    let target = target(&**artifacts, id).await?;
    if target != expected {
        return Err(Refusal::invalid("upload/target", format!("upload `{id}` is for `{target}`, not for `{expected}`")).into());
    }
    parts.sort_by_key(|part| part.number);
    let twice = parts.windows(2).find(|pair| pair[0].number == pair[1].number).map(|pair| pair[0].number);
    if let Some(number) = twice {
        return Err(Refusal::invalid("upload/parts", format!("part {number} is named twice")).into());
    }
    if parts.is_empty() {
        return Err(Refusal::invalid("upload/parts", "an upload without parts").hint("abort it").into());
    }
    let folder = folder(id)?;
    let wrong: Arc<OnceLock<Refusal>> = Arc::default();
    let pieces = parts.into_iter().map({
        let (artifacts, wrong) = (artifacts.clone(), wrong.clone());
        move |part| checked(artifacts.clone(), format!("{folder}/{}", part.number), part, wrong.clone())
    });
    let whole = stream::iter(pieces).then(|piece| piece).try_flatten().boxed();
    match artifacts.put(&target, whole).await {
        Ok(_) => Ok(abort(&**artifacts, id).await?),
        Err(fault) => Err(wrong.get().cloned().map_or(CommitError::from(fault), CommitError::from)),
    }
}

/// A part's bytes; the stream breaks at its end if they are not what the ETag says.
async fn checked(
    artifacts: Arc<dyn ArtifactStore>,
    path: String,
    part: Part,
    wrong: Arc<OnceLock<Refusal>>,
) -> Result<ByteStream, std::io::Error> {
    let refuse = move |what: String| {
        let refusal = Refusal::invalid("upload/part", what).hint("send the part again, then complete the upload");
        std::io::Error::other(wrong.get_or_init(|| refusal).to_string())
    };
    let found = artifacts.get(&path).await.map_err(|fault| std::io::Error::other(fault.to_string()))?;
    let Some((_, bytes)) = found else { return Err(refuse(format!("part {} is not there", part.number))) };
    let pieces = stream::try_unfold((bytes, Sha256::new(), refuse, part), |(mut bytes, mut hasher, refuse, part)| async move {
        if let Some(piece) = bytes.try_next().await? {
            hasher.update(&piece);
            return Ok(Some((piece, (bytes, hasher, refuse, part))));
        }
        let digest = hex(&hasher.finalize_reset());
        match part.etag.trim_matches('"') == digest {
            true => Ok(None),
            false => Err(refuse(format!("part {} is not the one whose ETag was given", part.number))),
        }
    });
    Ok(pieces.boxed())
}

/// Forgets an upload and its parts; one that is not there is no error.
pub async fn abort(artifacts: &dyn ArtifactStore, id: &str) -> Result<(), CommitError> {
    Ok(artifacts.delete(&folder(id)?).await?)
}

/// Frees the uploads that nobody completed within a week; gives how many.
pub async fn free(artifacts: &dyn ArtifactStore, now: Timestamp, dry_run: bool) -> Result<u64, Fault> {
    let mut freed = 0;
    for upload in artifacts.list(FOLDER).await? {
        let id = upload.path.rsplit('/').next().unwrap_or_default();
        let began = id.get(..12).and_then(|began| i64::from_str_radix(began, 16).ok());
        if began.is_some_and(|began| began + GIVEN_UP_MS < now.ms()) {
            freed += 1;
            if !dry_run {
                artifacts.delete(&upload.path).await?;
            }
        }
    }
    Ok(freed)
}

/// The path that an upload is for.
async fn target(artifacts: &dyn ArtifactStore, id: &str) -> Result<String, CommitError> {
    let found = artifacts.get_bytes(&format!("{}/target", folder(id)?)).await?;
    let path = found.and_then(|path| String::from_utf8(path.to_vec()).ok());
    Ok(path.ok_or_else(|| unknown(id))?)
}

/// The folder of an upload; an id that was never given leads nowhere.
fn folder(id: &str) -> Result<String, Refusal> {
    let is_id = id.len() == 44 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { Ok(format!("{FOLDER}/{id}")) } else { Err(unknown(id)) }
}

fn unknown(id: &str) -> Refusal {
    Refusal::not_found("upload/not_found", format!("there is no upload `{id}`"))
        .hint("begin another one: it was completed, aborted or freed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
