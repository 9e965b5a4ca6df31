//! The users and groups of a container, from its /etc/passwd and /etc/group.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::{Context, Error, Result, bail};
use common::step::Step;
use nix::fcntl::OFlag;

/// `USER[:GROUP]`, each a name or a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    user: String,
    group: Option<String>,
}

impl FromStr for UserSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<UserSpec> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group.to_owned())),
            None => (text, None),
        };
        let bad = |word: &str| word.is_empty() || word.contains([':', '\n']);
        if bad(user) || group.as_deref().is_some_and(bad) {
            bail!(
                "invalid user {text:?}: expected USER[:GROUP], each a name or a \
                 number"
            );
        }
        Ok(UserSpec { user: user.to_owned(), group })
    }
}

impl std::fmt::Display for UserSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(&self.user)?;
        self.group.iter().try_for_each(|group| write!(f, ":{group}"))
    }
}

/// The IDs of a user, and the home directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: u32,
    pub(crate) group: u32,
    /// Supplementary groups.
    pub(crate) groups: Vec<u32>,
    pub(crate) home: PathBuf,
}

impl UserSpec {
    /// Look up the user in the root directory of this process.
    ///
    /// # Errors
    /// The user or the group does not exist; /etc/passwd or /etc/group is not a
    /// regular file or cannot be read.
    pub(crate) fn find(&self) -> Result<Identity> {
        let passwd = text(Path::new("/etc/passwd"))?;
        let group = text(Path::new("/etc/group"))?;
        self.find_in(&passwd, &group)
    }

    // ANCHOR: find
    fn find_in(&self, passwd: &str, group: &str) -> Result<Identity> {
        // NAME:PASSWORD:UID:GID:COMMENT:HOME:SHELL
        let accounts = || passwd.lines().map(|line| Vec::from_iter(line.split(':')));
        let account = accounts()
            .find(|fields| fields[0] == self.user)
            // Names come first, because a name may consist of digits.
            .or_else(|| {
                accounts().find(|it| it.get(2) == Some(&self.user.as_str()))
            });
        let field = |at: usize| account.as_ref().and_then(|it| it.get(at).copied());
        let user = match field(2) {
            Some(uid) => uid.parse().context("invalid UID in /etc/passwd"),
            None => self
                .user
                .parse()
                .map_err(|_| unknown_name("user", &self.user, "passwd")),
        }?;
        // NAME:PASSWORD:GID:MEMBER,MEMBER
        let groups = || group.lines().map(|line| Vec::from_iter(line.split(':')));
        let number = |it: Vec<&str>| it.get(2).and_then(|gid| gid.parse().ok());
        let mut identity = Identity {
            user,
            group: field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0),
            groups: Vec::new(),
            home: field(5).filter(|home| !home.is_empty()).unwrap_or("/").into(),
        };
        if let Some(name) = &self.group {
            // If the caller names a group, the program is only in this group.
            let found = groups().find(|it| it[0] == name).and_then(number);
            let found = found.or_else(|| name.parse().ok());
            identity.group =
                found.ok_or_else(|| unknown_name("group", name, "group"))?;
        } else if let Some(name) = field(0) {
            let member = |it: &Vec<&str>| {
                it.get(3)
                    .is_some_and(|members| members.split(',').any(|m| m == name))
            };
            identity.groups = groups().filter(member).filter_map(number).collect();
        }
        Ok(identity)
    }
    // ANCHOR_END: find
}

fn unknown_name(kind: &str, name: &str, file: &str) -> Error {
    anyhow::anyhow!("the container's /etc/{file} has no {kind} {name}")
}

/// Read a file of the image. The file is not trusted: it may be missing, a FIFO, or
/// endless.
fn text(path: &Path) -> Result<String> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::options().read(true).custom_flags(flags.bits()).open(path);
    let file = match file {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Ok(String::new());
        }
        file => file.untraced(|| format!("open(2) {}", path.display()))?,
    };
    let about =
        file.metadata().untraced(|| format!("fstat(2) {}", path.display()))?;
    if !about.is_file() {
        bail!("the container's {} is not a regular file", path.display());
    }
    let mut bytes = Vec::new();
    file.take(1 << 20)
        .read_to_end(&mut bytes)
        .untraced(|| format!("read(2) {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:7:8::/home/ann:/bin/sh\n\
                          short:x\n12:x:99:98:::\n";
    const GROUP: &str =
        "root:x:0:\nstaff:x:50:bob,ann\naudio:x:29:ann\nwheel:x:10:annette\n";

    fn found(word: &str) -> Result<(u32, u32, Vec<u32>, String)> {
        let it = word.parse::<UserSpec>()?.find_in(PASSWD, GROUP)?;
        Ok((it.user, it.group, it.groups, it.home.display().to_string()))
    }

    #[test]
    fn accounts_are_found_by_name_and_by_number() {
        let home = || "/home/ann".to_owned();
        assert_eq!(found("ann").unwrap(), (7, 8, vec![50, 29], home()));
        assert_eq!(found("7").unwrap(), (7, 8, vec![50, 29], home()));
        assert_eq!(found("ann:audio").unwrap(), (7, 29, vec![], home()));
        assert_eq!(found("7:1234").unwrap(), (7, 1234, vec![], home()));
        assert_eq!(found("1000").unwrap(), (1000, 0, vec![], "/".into()));
        // Names are searched before numbers.
        assert_eq!(found("12").unwrap(), (99, 98, vec![], "/".into()));
        for word in
            ["", ":", "ann:", ":8", "a:b:c", "eve", "ann:nobody", "-1", "short"]
        {
            assert!(found(word).is_err(), "{word}");
        }
    }
}
