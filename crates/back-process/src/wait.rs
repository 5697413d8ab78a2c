//! The end of a job's first process, without a thread that waits for it.

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;
use std::io;
use std::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use wait4::{ResUse, Wait4};

/// Hears of children that end; to be made before the one that is waited for, so that none is missed.
pub(crate) struct Ends(Signal);

impl Ends {
    pub(crate) fn listen() -> io::Result<Ends> {
        Ok(Ends(signal(SignalKind::child())?))
    }

    /// Waits for the child; how it ended, and what it used.
    pub(crate) async fn of(mut self, child: Child) -> io::Result<ResUse> {
        while !has_ended(&child)? {
            // One signal may stand for several children: each looks at its own.
            self.0.recv().await;
        }
        child.wait4()
    }
}

/// Looks without taking the end away: the use of resources comes with it.
fn has_ended(child: &Child) -> io::Result<bool> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    Ok(waitid(Id::Pid(Pid::from_raw(child.id() as i32)), look)? != WaitStatus::StillAlive)
}
