#![allow(clippy::unwrap_used)]
use super::*;
use domain::spec::{EnvironmentSpec, RuntimeSpec};
use domain::{ModelName, VersionNumber};
use ports::memory::MemoryArtifacts;
use std::process::Command;

/// Makes wheels that hold one module each: NAME-VERSION, whose `version` is VERSION.
const WHEELS: &str = "
import sys, zipfile
for name, version in (pair.split('=') for pair in sys.argv[2:]):
    info = f'{name}-{version}.dist-info'
    with zipfile.ZipFile(f'{sys.argv[1]}/{name}-{version}-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{name}.py', f'version = {version!r}\\n')
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr(f'{info}/RECORD', f'{name}.py,,\\n{info}/METADATA,,\\n{info}/WHEEL,,\\n{info}/RECORD,,\\n')
";

struct Bench {
    folder: tempfile::TempDir,
    store: Arc<MemoryArtifacts>,
    environments: Environments,
}

impl Bench {
    fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let wheels = folder.path().join("wheels");
        std::fs::create_dir(&wheels).unwrap();
        let packages = ["mlflow_skinny=3.0", "pandas=2.0", "tinypkg=1.0", "tinypkg=2.0"];
        assert!(Command::new("python3").args(["-c", WHEELS]).arg(&wheels).args(packages).status().unwrap().success());
        let environments = Environments::new(folder.path().join("environments"));
        Bench { environments, store: Arc::new(MemoryArtifacts::default()), folder }
    }

    fn model(&self, version: u64, requirements: &str) -> (ModelFiles, PathBuf) {
        let folder = self.folder.path().join(format!("copy{version}"));
        std::fs::create_dir_all(&folder).unwrap();
        let wheels = self.folder.path().join("wheels");
        let text = format!("--no-index\n--find-links {}\nmlflow-skinny\npandas\n{requirements}\n", wheels.display());
        std::fs::write(folder.join("requirements.txt"), text).unwrap();
        let files = ModelFiles {
            model: ModelName::new("m"),
            version: VersionNumber(version),
            artifact_path: format!("models/{version}"),
            runtime: RuntimeSpec::Python,
            output: None,
            environment: EnvironmentSpec::Locked,
            isolate: false,
            scale: None,
            onnx: None,
        };
        (files, folder)
    }

    async fn of(&self, (files, folder): &(ModelFiles, PathBuf)) -> Result<Arc<Installed>, LoadError> {
        self.environments.of(&*self.store, Wanted { files, folder, python: Path::new("python3") }).await
    }

    fn left_over(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("environments")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name.starts_with('.')).collect()
    }
}

fn says(python: &Path) -> String {
    let told = Command::new(python).args(["-c", "import tinypkg; print(tinypkg.version)"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

fn refused(made: Result<Arc<Installed>, LoadError>) -> Refusal {
    match made {
        Err(LoadError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn versions_see_their_own_packages_and_the_same_packages_are_installed_once() {
    let bench = Bench::new();
    let (one, two, three) = (bench.model(1, "tinypkg==1.0"), bench.model(2, "tinypkg==2.0"), bench.model(3, "tinypkg<2"));
    assert!(!bench.environments.has(&one.1).await);
    // Two loads at once: one installation.
    let (first, again) = tokio::join!(bench.of(&one), bench.of(&one));
    let (first, again) = (first.unwrap(), again.unwrap());
    assert_eq!((first.python.clone(), says(&first.python)), (again.python.clone(), "1.0".into()));
    assert!(bench.environments.has(&one.1).await);
    let second = bench.of(&two).await.unwrap();
    assert_eq!((says(&second.python), says(&first.python)), ("2.0".into(), "1.0".into()), "both, side by side");
    assert_eq!(first.lock.packages, ["mlflow-skinny==3.0", "pandas==2.0", "tinypkg==1.0"]);
    let third = bench.of(&three).await.unwrap();
    assert_eq!((third.lock.sha256.clone(), third.lock.path.as_str()), (first.lock.sha256.clone(), "models/3/trimtab.lock.txt"));
    let kept = bench.store.get_bytes("models/1/trimtab.lock.txt").await.unwrap().unwrap();
    assert_eq!(Digest::of(&kept), first.lock.sha256, "what is shown is the digest of what is kept");
    assert!(!String::from_utf8_lossy(&kept).contains("find-links"));

    // The lock decides from now on, not what the requirements would mean today; another copy of the files finds it in the store.
    std::fs::remove_file(one.1.join(LOCK)).unwrap();
    std::fs::write(one.1.join("requirements.txt"), std::fs::read_to_string(two.1.join("requirements.txt")).unwrap()).unwrap();
    assert_eq!(bench.of(&one).await.unwrap().lock.sha256, first.lock.sha256);

    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), [], "all are seen by somebody");
    let gone = second.lock.sha256.clone();
    drop(second);
    assert_eq!(bench.environments.free(Duration::from_secs(3600), &[], false).await.unwrap(), [], "used within the hour");
    let kept = std::slice::from_ref(&gone);
    assert_eq!(bench.environments.free(Duration::ZERO, kept, false).await.unwrap(), [], "a pipeline run works with it");
    assert_eq!(bench.environments.free(Duration::ZERO, &[], true).await.unwrap(), kept);
    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), [gone]);
    assert!(!bench.environments.has(&two.1).await && bench.environments.has(&one.1).await);
    assert_eq!(says(&bench.of(&two).await.unwrap().python), "2.0", "made anew from its lock");
    assert_eq!(bench.left_over(), [""; 0]);
}

#[tokio::test]
async fn what_was_cut_short_is_made_anew_and_what_cannot_be_made_leaves_nothing() {
    let bench = Bench::new();
    let good = bench.model(1, "tinypkg==1.0");
    let sha256 = bench.of(&good).await.unwrap().lock.sha256.clone();
    let target = bench.folder.path().join("environments").join(sha256.as_str());
    // A killed installation leaves a part beside; a lost disk block, a folder without its interpreter.
    let part = bench.folder.path().join("environments").join(format!(".new-{sha256}"));
    std::fs::rename(&target, &part).unwrap();
    std::fs::create_dir(&target).unwrap();
    assert_eq!(says(&bench.of(&good).await.unwrap().python), "1.0");
    assert_eq!(bench.left_over(), [""; 0]);

    for (version, requirements, code, place) in [
        (2, "tinypkg==9.0", "environment/unresolved", "requirements.txt:5"),
        (3, "# a comment\nno-such-package", "environment/unresolved", "requirements.txt:6"),
        (4, "tinypkg ==", "environment/unresolved", "requirements.txt"),
    ] {
        let refusal = refused(bench.of(&bench.model(version, requirements)).await);
        assert_eq!((refusal.code.as_str(), refusal.kind), (code, domain::Kind::Invalid), "{refusal}");
        assert!(refusal.place.as_deref().is_some_and(|found| found.starts_with(place)), "{refusal}");
        assert!(refusal.hint.as_deref().is_some_and(|hint| hint.contains(".log")), "{refusal}");
    }
    let other = bench.model(5, "tinypkg");
    std::fs::write(other.1.join("python_env.yaml"), "python: 2.99.1\nbuild_dependencies:\n- pip\n").unwrap();
    let refusal = refused(bench.of(&other).await);
    assert_eq!((refusal.code.as_str(), refusal.place.as_deref()), ("environment/no_python", Some("python_env.yaml")));
    std::fs::remove_file(other.1.join("python_env.yaml")).unwrap();
    assert_eq!(refused(bench.of(&other).await).code, "environment/no_python", "not tried again at once");
    let bare = bench.model(6, "");
    std::fs::remove_file(bare.1.join("requirements.txt")).unwrap();
    assert_eq!(refused(bench.of(&bare).await).code, "environment/no_requirements");
    assert_eq!(bench.left_over(), [""; 0]);
    // A wheel that is not the one that was locked.
    let changed = bench.model(7, "tinypkg==2.0");
    bench.of(&changed).await.unwrap();
    bench.environments.free(Duration::ZERO, &[], false).await.unwrap();
    let wheels = bench.folder.path().join("wheels");
    let remade = Command::new("python3").args(["-c", &WHEELS.replace("version = ", "other = ")]).arg(&wheels).arg("tinypkg=2.0").status();
    assert!(remade.unwrap().success());
    match bench.of(&changed).await {
        // uv has kept the one that was locked.
        Ok(installed) => assert_eq!(says(&installed.python), "2.0"),
        Err(LoadError::Refused(refusal)) => {
            assert_eq!(refusal.code, "environment/hash_mismatch", "{refusal}");
            assert!(!bench.environments.has(&changed.1).await);
        }
        Err(other) => panic!("{other}"),
    }
    assert_eq!(bench.left_over(), [""; 0]);
}

/// A load that had found its environment there lost it to `gc` before it was known to see it; and a lock file that was removed while it was
/// held let two build at once.
#[tokio::test]
async fn what_is_about_to_be_seen_is_not_freed_and_lock_files_stay() {
    let bench = Bench::new();
    let one = bench.model(1, "tinypkg==1.0");
    let sha256 = bench.of(&one).await.unwrap().lock.sha256.clone();
    let folder = bench.folder.path().join("environments");
    let target = folder.join(sha256.as_str());

    let turn = bench.environments.turn(sha256.as_str()).await.unwrap();
    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), [], "somebody has the turn");
    assert!(target.is_dir());
    // As `free` does in its turn, while a load has begun.
    let load = bench.of(&one);
    tokio::pin!(load);
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut load).await.is_err(), "a load waits for its turn");
    std::fs::remove_dir_all(&target).unwrap();
    drop(turn);
    assert_eq!(says(&load.await.unwrap().python), "1.0", "made anew");

    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), std::slice::from_ref(&sha256));
    assert!(folder.join(format!("{sha256}.lock")).is_file() && !folder.join(format!("{sha256}.txt")).exists());
}

/// After `kill -9` pip goes on writing into the folder of the server that is gone, and nothing ever removed it.
#[tokio::test]
async fn what_was_cut_short_goes_unless_somebody_works_in_it() {
    let bench = Bench::new();
    let folder = bench.folder.path().join("environments");
    let (dead, alive) = ("a".repeat(64), "b".repeat(64));
    let parts = [format!(".gone-{dead}"), format!(".new-{alive}-1"), format!(".new-{dead}-1"), ".new-abcdef123456-1".into()];
    for part in &parts {
        std::fs::create_dir_all(folder.join(part).join("lib")).unwrap();
    }
    let turn = bench.environments.turn(&alive).await.unwrap();
    bench.environments.free(Duration::ZERO, &[], true).await.unwrap();
    assert_eq!(bench.left_over().len(), 4);
    bench.environments.free(Duration::ZERO, &[], false).await.unwrap();
    assert_eq!(bench.left_over(), [parts[1].clone()]);

    // The next server builds in a folder of its own, and clears the older one.
    let own = bench.environments.beside(&alive).await.unwrap();
    assert_eq!((bench.left_over(), own == folder.join(&parts[1])), (Vec::new(), false));
    drop(turn);
}

/// `trimtab gc` with a retention of nothing came between the making of an environment and the note that a pipeline run works with it.
#[tokio::test]
async fn what_was_prepared_is_held_until_its_use_can_be_written_down() {
    let bench = Bench::new();
    let one = bench.model(1, "tinypkg==1.0");
    let (files, folder) = &one;
    let made = bench.environments.prepare(&*bench.store, Wanted { files, folder, python: Path::new("python3") }).await.unwrap();
    let (sha256, python) = (made.lock.sha256.clone(), made.python.clone());
    drop(made);
    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), []);
    assert_eq!(says(&python), "1.0");
    for (until, _) in bench.environments.prepared.lock().iter_mut() {
        *until -= NOTED;
    }
    assert_eq!(bench.environments.free(Duration::ZERO, &[], false).await.unwrap(), [sha256]);
}
