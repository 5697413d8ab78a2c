//! Starting a job's first process.

use crate::cgroup::Group;
use crate::members::COOKIE;
use domain::Refusal;
use ports::{ComputeError, JobSpec};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Starts it in its control group; where that is denied, without one.
pub(crate) fn spawn_within(job: &JobSpec, gpus: &[String], group: Option<Group>) -> Result<(Child, Option<Group>), ComputeError> {
    let Some(group) = group else { return Ok((spawn(job, gpus, None)?, None)) };
    match group.door().and_then(|door| start(job, gpus, Some(door))) {
        Ok(child) => Ok((child, Some(group))),
        Err(error) => {
            group.remove();
            // A program that is not there is not there without a group either, and that is what is said then.
            let child = spawn(job, gpus, None)?;
            tracing::warn!(%error, "a job could not enter its control group and is watched instead");
            Ok((child, None))
        }
    }
}

fn spawn(job: &JobSpec, gpus: &[String], door: Option<File>) -> Result<Child, ComputeError> {
    let Some(program) = job.command.first() else {
        return Err(Refusal::invalid("job/no_command", "the command is empty").into());
    };
    start(job, gpus, door).map_err(|e| {
        Refusal::invalid("job/cannot_start", format!("`{program}` cannot be started in {}: {e}", job.dir.display()))
            .hint("check that the program exists and may be executed, and that the folder is there")
            .into()
    })
}

fn start(job: &JobSpec, gpus: &[String], door: Option<File>) -> io::Result<Child> {
    let (program, arguments) = job.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    // With a path the process is spawned; looking for a name on another PATH would fork, and copy this process's page tables.
    let mut command = Command::new(found(program, job).unwrap_or_else(|| program.into()));
    command
        .arg0(program)
        .args(arguments)
        .current_dir(&job.dir)
        .env_clear()
        .envs(job.env.iter().map(|(name, value)| (name, value)))
        .env(COOKIE, &job.id.0)
        .env("CUDA_VISIBLE_DEVICES", gpus.join(","))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if let Some(door) = door {
        enter_first(&mut command, door);
    }
    command.spawn()
}

/// The process enters its group between fork and exec: a limit that held only later would not hold for what was started before.
#[allow(unsafe_code)]
fn enter_first(command: &mut Command, mut door: File) {
    // SAFETY: between fork and exec only what is safe in a signal handler may be done; this is one write(2) to a file opened before.
    unsafe { command.pre_exec(move || door.write_all(b"0")) };
}

/// Where the job's own PATH has a program.
fn found(program: &str, job: &JobSpec) -> Option<PathBuf> {
    if program.contains('/') {
        return None;
    }
    let (_, path) = job.env.iter().find(|(name, _)| name == "PATH")?;
    let may_run = |file: &PathBuf| file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0);
    std::env::split_paths(path).map(|folder| job.dir.join(folder).join(program)).find(may_run)
}
