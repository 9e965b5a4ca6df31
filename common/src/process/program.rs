//! The program: found in PATH, checked, and executed.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::unistd::{AccessFlags, access, execve, execveat};

use crate::engine::plan::{Plan, Root};
use crate::process::environment::hint_of_callers_path;
use crate::process::exit::{Failure, NOT_EXECUTABLE, NOT_FOUND, RUNTIME_ERROR};
use crate::process::safe_binary;

/// The number of times that a script's interpreter may itself be a script;
/// execve(2).
const MAX_INTERPRETERS: usize = 5;

/// The hint if a program does not exist in a root filesystem that is not the host's.
const OWN_ROOT: &str = "\nhint: the container has its own root filesystem: only the \
                        programs of its image exist in it";

/// The arguments of execve(2), prepared before the clone.
pub(crate) struct Program {
    arguments: Vec<CString>,
    environment: Vec<CString>,
    path: Vec<PathBuf>,
    /// Device and inode of each file that is the host's own binary. The container
    /// must not execute these files. Empty if it uses the host's root.
    forbidden: Vec<(u64, u64)>,
    /// Whether other processes run in the container. They could replace the file.
    has_other_processes: bool,
}

impl Program {
    /// Prepare the arguments and the environment of the plan's command.
    ///
    /// # Errors
    /// An argument or a variable contains a NUL byte, which execve(2) cannot pass; a
    /// file of this program cannot be examined.
    pub(crate) fn new(plan: &Plan, has_other_processes: bool) -> Result<Program> {
        let arguments = plan.command.iter().map(|a| a.as_bytes());
        let arguments = arguments.map(CString::new).collect::<Result<_, _>>();
        let pairs = plan
            .environment
            .iter()
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
        let environment = pairs.map(CString::new).collect::<Result<_, _>>();
        let path = plan.environment.get(OsStr::new("PATH"));
        let path = path.map(|path| std::env::split_paths(path).collect());
        // With the host's own root, the program may be any program of the host,
        // including this one.
        let forbidden = if plan.root == Root::Host {
            Vec::new()
        } else {
            safe_binary::forbidden()?
        };
        Ok(Program {
            arguments: arguments.context("an argument contains a NUL byte")?,
            environment: environment.context("a variable contains a NUL byte")?,
            path: path.unwrap_or_default(),
            forbidden,
            has_other_processes,
        })
    }

    /// Set variables, replacing those with the same names.
    ///
    /// # Errors
    /// A variable contains a NUL byte.
    pub(crate) fn set(&mut self, more: &BTreeMap<OsString, OsString>) -> Result<()> {
        for (key, value) in more {
            let name = [key.as_bytes(), b"="].concat();
            self.environment.retain(|pair| !pair.as_bytes().starts_with(&name));
            let pair = CString::new([&name, value.as_bytes()].concat());
            self.environment.push(pair.context("a variable contains a NUL byte")?);
        }
        Ok(())
    }

    /// Execute the program. The child calls this after it has entered its root.
    ///
    /// # Errors
    /// The program is not found (exit status 127) or cannot be executed (126); the
    /// argument list is too long (125).
    pub(crate) fn exec<T>(&self) -> Result<T> {
        let name = OsStr::from_bytes(self.arguments[0].as_bytes());
        // As in a shell: a name with a slash is a path, any other name is looked
        // up in PATH. A file that cannot be executed does not end the search.
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
                Some(failure) if failure.code == RUNTIME_ERROR => {
                    return Err(failure.into());
                }
                Some(failure) => drop(refused.get_or_insert(failure)),
            }
        }
        let shown = Path::new(name).display();
        Err(refused
            .unwrap_or_else(|| Failure {
                code: NOT_FOUND,
                text: if candidates.len() == 1 {
                    format!("exec {shown}: file not found in the container")
                } else {
                    let path: Vec<_> =
                        self.path.iter().map(|p| p.display().to_string()).collect();
                    let path = path.join(":");
                    let hint = match self.forbidden.is_empty() {
                        true => hint_of_callers_path(name).unwrap_or_default(),
                        false => OWN_ROOT.to_owned(),
                    };
                    format!("exec {shown}: not found in PATH={path}{hint}")
                },
            })
            .into())
    }

    /// Execute exactly this file. `None`: the file does not exist.
    fn attempt(&self, path: &Path) -> Option<Failure> {
        let refused = |text: String| {
            let text = format!("exec {}: {text}", path.display());
            Some(Failure { code: NOT_EXECUTABLE, text })
        };
        let tried = if self.has_other_processes {
            self.open_checked(path).map(|(file, words)| {
                let flags = AtFlags::AT_EMPTY_PATH;
                let Err(e) = execveat(&file, c"", &words, &self.environment, flags);
                e
            })
        } else {
            self.check(path, MAX_INTERPRETERS).and_then(|()| {
                let file = CString::new(path.as_os_str().as_bytes())?;
                let Err(e) = execve(&file, &self.arguments, &self.environment);
                Ok(e)
            })
        };
        let errno = match tried {
            Err(e) if absent(&e) => return None,
            Err(e) => {
                let errno = e.raw_os_error().map(Errno::from_raw);
                return refused(errno.map_or(e.to_string(), |e| e.to_string()));
            }
            Ok(errno) => errno,
        };
        match errno {
            Errno::ENOENT => refused(NO_INTERPRETER.to_owned()),
            Errno::ENOEXEC => refused(
                "neither a program for this machine nor a script with a #! line"
                    .to_owned(),
            ),
            Errno::E2BIG => Some(Failure {
                code: RUNTIME_ERROR,
                text: format!(
                    "exec {}: E2BIG: the argument list is too long for the kernel",
                    path.display()
                ),
            }),
            errno => refused(errno.to_string()),
        }
    }

    /// Refuse a file that is the host's own binary, and a script whose interpreter
    /// is the host's own binary.
    ///
    /// No mount hides `/proc/self/exe`: before execve(2) it is the host's binary,
    /// and an image may contain `sh -> /proc/self/exe`. If a process executes it,
    /// another process can later write to the binary through `/proc/PID/exe`
    /// (CVE-2019-5736). No other process runs in the container yet, so the file
    /// cannot change between this check and the kernel's lookup.
    fn check(&self, path: &Path, depth: usize) -> io::Result<()> {
        self.check_metadata(&fs::metadata(path)?)?;
        if self.forbidden.is_empty() {
            return Ok(());
        }
        // A process that cannot read a file may still execute it. The kernel reads
        // the first line of a script even then, but the interpreter cannot read the
        // script.
        let mut head = [0; 256];
        let length = match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => 0,
            file => read(&mut file?, &mut head)?,
        };
        match interpreter(&head[..length]) {
            Some((script, _)) if depth > 0 => match self.check(&script, depth - 1) {
                Err(e) if absent(&e) => Ok(()),
                checked => checked,
            },
            _ => Ok(()),
        }
    }

    // ANCHOR: hold
    /// Open the program after the same checks as in [`Program::check`], so that the
    /// checked file is the executed file. For a script, this returns the interpreter
    /// and the arguments that the kernel would pass to it. The kernel must not
    /// interpret the script itself, because it would look up the path again.
    fn open_checked(&self, path: &Path) -> io::Result<(File, Vec<CString>)> {
        let mut path = path.to_owned();
        let mut words: VecDeque<CString> = self.arguments.iter().cloned().collect();
        for depth in 0..=MAX_INTERPRETERS {
            let open = |mode: i32| {
                let flags = mode | libc::O_CLOEXEC;
                File::options().read(true).custom_flags(flags).open(&path)
            };
            // O_PATH opens a reference to the file and has no effect on the file.
            let file = match open(libc::O_PATH) {
                Err(e) if depth > 0 && absent(&e) => {
                    return Err(io::Error::other(NO_INTERPRETER));
                }
                file => file?,
            };
            let meta = file.metadata()?;
            self.check_metadata(&meta)?;
            // This also fails if the file is on a mount with the option "noexec".
            access(&path, AccessFlags::X_OK)?;
            let mut head = [0; 256];
            let length = match open(libc::O_NONBLOCK) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => 0,
                again => {
                    let mut again = again?;
                    let now = again.metadata()?;
                    if (now.dev(), now.ino()) != (meta.dev(), meta.ino()) {
                        return Err(io::Error::other(
                            "it was replaced during the check",
                        ));
                    }
                    read(&mut again, &mut head)?
                }
            };
            let Some((script, option)) = interpreter(&head[..length]) else {
                return Ok((file, words.into()));
            };
            words.pop_front();
            words.push_front(CString::new(path.into_os_string().into_vec())?);
            if let Some(option) = option {
                words.push_front(CString::new(option.into_vec())?);
            }
            words.push_front(CString::new(script.as_os_str().as_bytes())?);
            path = script;
        }
        Err(Errno::ELOOP.into())
    }
    // ANCHOR_END: hold

    /// Check whether this file may be executed in the container.
    fn check_metadata(&self, meta: &Metadata) -> io::Result<()> {
        if meta.is_dir() {
            return Err(io::Error::other("it is a directory"));
        }
        // Opening a fifo would wait for its writer.
        if meta.file_type().is_fifo() || meta.mode() & 0o111 == 0 {
            return Err(io::Error::other("it is not executable (use chmod +x)"));
        }
        if self.forbidden.contains(&(meta.dev(), meta.ino())) {
            return Err(io::Error::other(
                "it leads to the host's own binary, which a container must not run",
            ));
        }
        Ok(())
    }
}

const NO_INTERPRETER: &str =
    "it exists, but its interpreter or dynamic loader was not found";

/// read(2), repeated after EINTR.
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

/// The interpreter in a script's first line, and the text after it: one argument,
/// even if it contains spaces.
///
/// # Source
/// execve(2), "Interpreter scripts"
fn interpreter(head: &[u8]) -> Option<(PathBuf, Option<OsString>)> {
    let line = head.strip_prefix(b"#!")?.split(|&byte| byte == b'\n').next()?;
    let line = line.split(|&byte| byte == 0).next()?;
    let blank = |byte: &u8| b" \t".contains(byte);
    let start = line.iter().position(|byte| !blank(byte))?;
    let end = line.iter().rposition(|byte| !blank(byte))? + 1;
    let line = &line[start..end];
    let at = line.iter().position(blank).unwrap_or(line.len());
    let (word, rest) = line.split_at(at);
    let rest = rest.iter().position(|byte| !blank(byte)).map(|at| &rest[at..]);
    let owned = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    Some((owned(word).into(), rest.map(owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_parsed_as_the_kernel_parses_it() {
        let read = |text: &[u8]| {
            let (path, option) = interpreter(text)?;
            let option = option.map(|word| word.into_string().unwrap());
            Some((path.display().to_string(), option))
        };
        let plain = |path: &str| Some((path.to_owned(), None));
        let with = |path: &str, word: &str| Some((path.into(), Some(word.into())));
        assert_eq!(read(b"#!/bin/sh -e\necho"), with("/bin/sh", "-e"));
        assert_eq!(read(b"#! /bin/awk  -f -v x \n"), with("/bin/awk", "-f -v x"));
        assert_eq!(read(b"#! \t/proc/self/exe"), plain("/proc/self/exe"));
        assert_eq!(read(b"#!/bin/sh \n"), plain("/bin/sh"));
        assert_eq!(read(b"\x7fELF#!/bin/sh"), None);
        assert_eq!(read(b"#!\n/bin/sh"), None);
    }
}
