//! The program to be: found through PATH, checked, executed.

use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::unistd::execve;

use crate::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND, OURS};
use crate::part::Plan;
use crate::step::Step;

/// How often a script's interpreter may be a script itself; execve(2).
const MOST_INTERPRETERS: usize = 5;

/// What is executed at the end, ready before the clone.
pub(crate) struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    path: Vec<PathBuf>,
    /// Device and inode of the host's own binary, where the guest must not run it.
    forbidden: Option<(u64, u64)>,
}

impl Program {
    /// # Errors
    /// A NUL byte in an argument or variable, which no execve(2) can pass.
    pub(crate) fn new(plan: &Plan) -> Result<Program> {
        let arguments = plan.command.iter().map(|a| a.as_bytes());
        let arguments = arguments.map(CString::new).collect::<Result<_, _>>();
        let pairs = plan
            .environment
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let environment = pairs.map(CString::new).collect::<Result<_, _>>();
        let path = plan.environment.get(OsStr::new("PATH"));
        let path = path.map(|path| std::env::split_paths(path).collect());
        // With the host's own root the guest may run any of the host's programs,
        // this one too.
        let own = plan.root.as_ref().map(|_| {
            let own =
                fs::metadata("/proc/self/exe").look(|| "stat(2) /proc/self/exe");
            own.map(|own| (own.dev(), own.ino()))
        });
        Ok(Program {
            arguments: arguments.context("an argument holds a NUL byte")?,
            environment: environment.context("a variable holds a NUL byte")?,
            path: path.unwrap_or_default(),
            forbidden: own.transpose()?,
        })
    }

    /// Become the program. In the child, with the guest's root in place.
    pub(crate) fn exec<T>(&self) -> Result<T> {
        let name = OsStr::from_bytes(self.arguments[0].as_bytes());
        // As a shell: a name with a slash is a path, any other is looked for; what
        // is there but can't be executed is remembered while looking on.
        let candidates = if name.as_bytes().contains(&b'/') {
            vec![PathBuf::from(name)]
        } else if name.is_empty() {
            Vec::new()
        } else {
            self.path.iter().map(|dir| dir.join(name)).collect()
        };
        let mut refused = None;
        for path in &candidates {
            match self.attempt(path) {
                None => {}
                Some(failure) if failure.code == OURS => return Err(failure.into()),
                Some(failure) => drop(refused.get_or_insert(failure)),
            }
        }
        let shown = Path::new(name).display();
        Err(refused
            .unwrap_or_else(|| Failure {
                code: NOT_FOUND,
                text: if candidates.len() == 1 {
                    format!("exec {shown}: no such file in the container")
                } else {
                    let path: Vec<_> =
                        self.path.iter().map(|p| p.display().to_string()).collect();
                    format!("exec {shown}: not found in PATH={}", path.join(":"))
                },
            })
            .into())
    }

    /// Execute this very file. `None`: it isn't there.
    fn attempt(&self, path: &Path) -> Option<Failure> {
        let refused = |text: String| {
            let text = format!("exec {}: {text}", path.display());
            Some(Failure { code: NOT_EXECUTABLE, text })
        };
        match self.check(path, MOST_INTERPRETERS) {
            Err(e) if absent(&e) => return None,
            Err(e) => {
                let errno = e.raw_os_error().map(Errno::from_raw);
                return refused(errno.map_or(e.to_string(), |e| e.to_string()));
            }
            Ok(()) => {}
        }
        let file = CString::new(path.as_os_str().as_bytes()).ok()?;
        let Err(errno) = execve(&file, &self.arguments, &self.environment);
        match errno {
            Errno::ENOENT => refused(
                "it is there, but the interpreter or loader that it asks for is not"
                    .to_owned(),
            ),
            Errno::ENOEXEC => refused(
                "neither a program for this machine nor a script with a #! line"
                    .to_owned(),
            ),
            Errno::E2BIG => Some(Failure {
                code: OURS,
                text: format!(
                    "exec {}: E2BIG: the arguments are longer than the kernel takes",
                    path.display()
                ),
            }),
            errno => refused(errno.to_string()),
        }
    }

    /// Refuse what leads back to the host's own binary, by itself or as a script's
    /// interpreter.
    ///
    /// `/proc/self/exe` is a way out of the root that no mount hides: before exec
    /// it is the host's binary, and an image may hold `sh -> /proc/self/exe`. Who
    /// runs that can later write to it through `/proc/PID/exe` (CVE-2019-5736).
    /// Nobody else runs in the container yet who could change the file between
    /// this look and the kernel's own.
    fn check(&self, path: &Path, depth: usize) -> io::Result<()> {
        let meta = fs::metadata(path)?;
        if meta.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        // Opening a fifo would wait for its writer.
        if meta.file_type().is_fifo() || meta.mode() & 0o111 == 0 {
            return Err(io::Error::other(
                "it is not executable (chmod +x makes it so)",
            ));
        }
        let Some(own) = self.forbidden else {
            return Ok(());
        };
        if (meta.dev(), meta.ino()) == own {
            return Err(io::Error::other(
                "it leads to the host's own binary, which a container must not run",
            ));
        }
        // Whoever may not read a file may still execute it; of a script the kernel
        // reads the first line all the same, but no interpreter reads the rest.
        let mut head = [0; 256];
        let length = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => 0,
            file => read(&mut file?, &mut head)?,
        };
        match interpreter(&head[..length]) {
            Some(script) if depth > 0 => match self.check(&script, depth - 1) {
                Err(e) if absent(&e) => Ok(()),
                checked => checked,
            },
            _ => Ok(()),
        }
    }
}

/// read(2), of which an interruption is as good as nothing.
fn read(file: &mut File, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match file.read(into) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

fn absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotFound | NotADirectory)
}

/// The interpreter that a script's first line names.
///
/// # Source
/// execve(2), "Interpreter scripts"
fn interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let mut words = line.split(|byte| b" \t\0".contains(byte));
    let word = words.find(|word| !word.is_empty())?;
    Some(std::ffi::OsString::from_vec(word.to_vec()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_read_as_the_kernel_reads_them() {
        let path = |text: &[u8]| interpreter(text).map(|p| p.display().to_string());
        assert_eq!(path(b"#!/bin/sh -e\necho"), Some("/bin/sh".into()));
        assert_eq!(path(b"#! \t/proc/self/exe"), Some("/proc/self/exe".into()));
        assert_eq!(path(b"\x7fELF#!/bin/sh"), None);
        assert_eq!(path(b"#!\n/bin/sh"), None);
    }
}
