//! Gives up the rights that a running server does not need: privileges of its user, access to files outside of the
//! served directory, system calls. What was given up cannot be had again.
//!
//! It never decides what is needed by trying. Every measure applies to the calling thread and to the threads that it
//! starts from then on, so it comes before the workers; threads that run already stay as they are.

mod allowed;
#[cfg(all(target_os = "linux", feature = "sandbox"))]
mod landlock;
#[cfg(all(target_os = "linux", feature = "sandbox"))]
mod privileges;
#[cfg(all(target_os = "linux", feature = "sandbox"))]
#[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")), path = "no_seccomp.rs")]
mod seccomp;

use std::fmt;

use crate::config::SandboxMode;

pub use allowed::Allowed;

/// Why a server cannot start as it is to.
#[derive(Debug)]
pub enum SandboxError {
    /// It cannot become this user.
    User(String),
    /// A measure that is required is not there.
    Missing { measure: &'static str, reason: String },
}

impl fmt::Display for SandboxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(reason) => write!(f, "cannot change the user: {reason}"),
            Self::Missing { measure, reason } => {
                write!(
                    f,
                    "the sandbox is required, and {measure} cannot be had: {reason} (--sandbox auto does without)"
                )
            }
        }
    }
}

impl std::error::Error for SandboxError {}

/// The rights that were given up so far.
#[derive(Debug)]
pub struct Sandbox {
    mode: SandboxMode,
    in_force: Vec<String>,
    missing: Vec<String>,
}

impl Sandbox {
    /// Becomes `user`, if there is one (`USER` or `USER:GROUP`, names or numbers), and gives up all privileges. Files
    /// that only a privileged user may open must be open already.
    pub fn begin(mode: SandboxMode, user: Option<&str>) -> Result<Self, SandboxError> {
        let mut sandbox = Self { mode, in_force: Vec::new(), missing: Vec::new() };
        sandbox.give_up_privileges(user)?;
        Ok(sandbox)
    }

    fn note(&mut self, measure: &'static str, done: Result<String, String>) -> Result<(), SandboxError> {
        match (done, self.mode) {
            (Ok(word), _) => self.in_force.push(word),
            (Err(reason), SandboxMode::Require) => return Err(SandboxError::Missing { measure, reason }),
            (Err(reason), _) => self.missing.push(format!("{measure} ({reason})")),
        }
        Ok(())
    }

    /// What this system does not offer of the sandbox, in words; `None` if it has all.
    pub fn missing(&self) -> Option<String> {
        (!self.missing.is_empty()).then(|| self.missing.join(", "))
    }
}

/// What is in force, in one word without spaces.
impl fmt::Display for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.mode, &*self.in_force) {
            (SandboxMode::Off, []) => f.write_str("off"),
            (_, []) => f.write_str("none"),
            (_, words) => f.write_str(&words.join(",")),
        }
    }
}

#[cfg(all(target_os = "linux", feature = "sandbox"))]
impl Sandbox {
    fn give_up_privileges(&mut self, user: Option<&str>) -> Result<(), SandboxError> {
        let is_on = self.mode != SandboxMode::Off;
        if is_on {
            // Only a privileged user can do this, and need not.
            privileges::empty_bounding_set();
        }
        if let Some(user) = user {
            let word = privileges::become_user(user).map_err(SandboxError::User)?;
            self.in_force.push(word);
        }
        if is_on {
            self.note("no_new_privs", privileges::no_new_privs())?;
            self.note("giving up capabilities", privileges::no_capabilities())?;
        }
        Ok(())
    }

    /// Leaves what is allowed, and nothing else, for this thread and those that it starts. Only once.
    pub fn confine(&mut self, allowed: &Allowed<'_>) -> Result<(), SandboxError> {
        if self.mode == SandboxMode::Off {
            return Ok(());
        }
        self.note("Landlock", landlock::restrict(allowed))?;
        // Last: the calls that restrict are themselves not among those that are left.
        self.note("seccomp", seccomp::restrict())
    }
}

/// The UID and the GID of `USER` or `USER:GROUP`, names or numbers.
#[cfg(all(target_os = "linux", feature = "sandbox"))]
pub fn find_user(text: &str) -> Result<(u32, u32), String> {
    privileges::find(text).map(|(uid, gid)| (uid.as_raw(), gid.as_raw()))
}

/// The same; this build knows no names.
#[cfg(not(all(target_os = "linux", feature = "sandbox")))]
pub fn find_user(text: &str) -> Result<(u32, u32), String> {
    let ids = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    ids.ok_or_else(|| format!("{text:?} is not UID:GID, and this build knows no names of users"))
}

#[cfg(not(all(target_os = "linux", feature = "sandbox")))]
impl Sandbox {
    fn give_up_privileges(&mut self, user: Option<&str>) -> Result<(), SandboxError> {
        let why = if cfg!(feature = "sandbox") { "it takes Linux" } else { "this build has no sandbox" };
        match (user, self.mode) {
            (Some(_), _) => Err(SandboxError::User(why.to_owned())),
            (None, SandboxMode::Require) => self.note("a sandbox", Err(why.to_owned())),
            (None, SandboxMode::Auto | SandboxMode::Off) => Ok(()),
        }
    }

    /// Without the sandbox, nothing.
    pub fn confine(&mut self, _allowed: &Allowed<'_>) -> Result<(), SandboxError> {
        Ok(())
    }
}
