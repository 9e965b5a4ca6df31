//! Commands and options of Docker that do not exist here, each with a replacement.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, bail};
use ch04_volume::Spec;
use clap::builder::{OsStringValueParser, TypedValueParser, ValueParser};
use clap::{Arg, Command};

/// Commands of Docker, each with a remedy.
const COMMANDS: [(&str, &str); 16] = [
    ("build", "`commit` makes an image of a container that was changed"),
    ("compose", "start each container with `run`, all of them on one network"),
    ("cp", "`exec NAME tar -c FILE` writes a file to stdout as a tar archive"),
    ("create", "`run -d` creates and starts a container"),
    ("diff", "`export NAME | tar -t` lists all files of a container"),
    ("events", "`wait NAME` waits for the end of a container"),
    ("pause", "`cgroup freeze GROUP` freezes the processes of a group"),
    ("rename", "`run --name` gives a container its name"),
    ("restart", "`rm -f` removes the container, and `run` starts another one"),
    ("search", "`pull` needs the full name of an image"),
    (
        "start",
        "`run` starts a new container; `commit` keeps the files of an old one",
    ),
    ("stats", "`cgroup list` and `cgroup stats` show the use of each group"),
    ("top", "`exec NAME ps` lists the processes of a container"),
    ("unpause", "`cgroup thaw GROUP` continues the processes of a group"),
    ("update", "the limits of a container are options of `run`"),
    ("volume", "a volume is a directory of the host: `run -v DIRECTORY:PATH`"),
];

/// An option that only Docker has: its command, its long and its short name, a remedy.
type Missing = (&'static str, &'static str, Option<char>, &'static str);

/// Why no option for capabilities is needed.
const ROOT: &str =
    "root has all capabilities in a container here: leave the option out";

/// Options of Docker, by their commands.
const OPTIONS: [Missing; 39] = [
    ("commit", "author", Some('a'), "an image has no author here"),
    (
        "commit",
        "change",
        Some('c'),
        "an image keeps the environment, directory, user and command of its container",
    ),
    ("commit", "message", Some('m'), "an image has no comment here"),
    (
        "commit",
        "pause",
        Some('p'),
        "a running container with a cgroup is frozen while it is copied",
    ),
    (
        "images",
        "all",
        Some('a'),
        "the list always has all images: leave the option out",
    ),
    ("images", "digests", None, "`images --json` shows the digests"),
    ("images", "filter", Some('f'), "use --json and jq"),
    ("images", "format", None, "use --json and jq"),
    ("images", "no-trunc", None, "`images --json` shows the whole IDs"),
    ("inspect", "format", Some('f'), "it prints JSON: use jq"),
    ("logs", "until", None, "`logs -t` shows the time of each line"),
    ("ps", "filter", Some('f'), "use --json and jq"),
    ("ps", "format", None, "use --json and jq"),
    ("ps", "last", Some('n'), "`ps -a` lists all containers, the newest first"),
    ("ps", "latest", Some('l'), "`ps -a` lists all containers, the newest first"),
    ("ps", "size", Some('s'), "`system df` shows the size of all containers"),
    ("run", "cap-add", None, ROOT),
    ("run", "cap-drop", None, "use -u with an ordinary user, who has no capability"),
    ("run", "cidfile", None, "`run -d` prints the ID: write it to the file"),
    (
        "run",
        "detach-keys",
        None,
        "start it with `run -dit`: Ctrl-P Ctrl-Q leaves its `attach`",
    ),
    (
        "run",
        "device",
        None,
        "use -v with the path of the device: -v /dev/fuse:/dev/fuse",
    ),
    (
        "run",
        "expose",
        None,
        "every port of a container can be reached on its network: leave the option out",
    ),
    ("run", "ipc", None, "a container always has an IPC namespace of its own"),
    ("run", "label", Some('l'), "a container has a name but no labels here"),
    (
        "run",
        "link",
        None,
        "connect both containers to a network (--network): names work there",
    ),
    (
        "run",
        "memory-swap",
        None,
        "-m limits the memory, and the container gets no swap",
    ),
    ("run", "mount", None, "use -v DIRECTORY:PATH"),
    ("run", "pid", None, "a container always has a PID namespace of its own"),
    ("run", "privileged", None, ROOT),
    ("run", "restart", None, "let a service manager start `run` again"),
    (
        "run",
        "security-opt",
        None,
        "a container has no security profile here: leave the option out",
    ),
    (
        "run",
        "shm-size",
        None,
        "/dev/shm has 64 MB; use -v with a directory of the host's /dev/shm",
    ),
    ("run", "sig-proxy", None, "signals are always forwarded to the program"),
    (
        "run",
        "stop-signal",
        None,
        "use `kill -s SIGNAL`, or an image with another stop signal",
    ),
    ("run", "stop-timeout", None, "use `stop -t SECONDS`"),
    ("run", "sysctl", None, "/proc/sys is read-only in a container here"),
    ("run", "tmpfs", None, "use -v with a directory of a tmpfs, such as /dev/shm/x"),
    (
        "run",
        "ulimit",
        None,
        "use `sh -c 'ulimit -n 100; exec PROGRAM'` as the command",
    ),
    ("run", "volumes-from", None, "repeat the options -v of the other container"),
];

/// Refuse a command that only Docker has. clap would suggest a command that is spelled
/// similarly and does something else.
///
/// # Errors
/// These words, from the command on, are such a command.
pub(crate) fn refuse(command: &[String]) -> Result<()> {
    let command = match command {
        [group, command, ..] if group == "container" || group == "image" => command,
        [command, ..] => command,
        [] => return Ok(()),
    };
    match COMMANDS.iter().find(|(name, _)| name == command) {
        Some((_, remedy)) => bail!("the command {command} does not exist: {remedy}"),
        None => Ok(()),
    }
}

/// Add the options that only Docker has, each with an error that names the remedy.
pub(crate) fn options(command: Command) -> Command {
    // The name of the list in a group is ls.
    add(command, "")
        .mut_subcommand("container", |group| add(group, "ps"))
        .mut_subcommand("image", |group| add(group, "images"))
}

fn add(group: Command, list: &str) -> Command {
    let group = OPTIONS.iter().fold(group, |group, (of, option, short, remedy)| {
        let of = if *of == list { "ls" } else { of };
        let refuse = |_: &str| Err::<String, _>(*remedy);
        let arg = Arg::new(*option).long(*option).hide(true).num_args(0..=1);
        let arg =
            arg.default_missing_value("").value_parser(ValueParser::new(refuse));
        let arg = short.iter().fold(arg, |arg, short| arg.short(*short));
        on(group, of, |command| {
            // A solution of an exercise may add such an option to the chapter.
            let exists = command.get_arguments().any(|it| {
                it.get_long() == Some(option)
                    || it.get_short().is_some_and(|it| Some(it) == *short)
            });
            if exists { command } else { command.arg(arg) }
        })
    });
    let volumes = OsStringValueParser::new().try_map(|text| volume(&text));
    on(group, "run", |run| run.mut_arg("volumes", |arg| arg.value_parser(volumes)))
}

/// Change a command of this group, if the group has it.
fn on(
    group: Command,
    name: &str,
    change: impl FnOnce(Command) -> Command,
) -> Command {
    match group.find_subcommand(name) {
        Some(_) => group.mut_subcommand(name, change),
        None => group,
    }
}

/// Parse a volume. Docker would create a named volume for a word without a slash.
fn volume(text: &OsStr) -> Result<Spec> {
    let bytes = text.as_bytes();
    let source = bytes.split(|byte| *byte == b':').next().unwrap_or_default();
    let directory = source.is_empty() || source.contains(&b'/') || source[0] == b'.';
    if !directory {
        let name = String::from_utf8_lossy(source);
        bail!(
            "a volume has no name here, it is a directory: write ./{name} for the \
             directory {name}"
        );
    }
    Spec::parse(text)
}

#[cfg(test)]
mod tests {
    use clap::Subcommand;

    use super::*;
    use crate::Commands;

    #[test]
    fn no_existing_command_is_refused() {
        let command = Commands::augment_subcommands(Command::new("m"));
        for (name, _) in COMMANDS {
            assert!(command.find_subcommand(name).is_none(), "{name}");
            assert!(refuse(&[name.to_owned()]).is_err(), "{name}");
        }
        assert!(refuse(&["container".to_owned(), "top".to_owned()]).is_err());
        assert!(refuse(&["ps".to_owned(), "top".to_owned()]).is_ok());
        assert!(refuse(&[]).is_ok());
    }

    #[test]
    fn an_option_of_docker_is_refused_with_its_remedy() {
        for (of, option, _, remedy) in OPTIONS {
            let command = options(Commands::augment_subcommands(Command::new("m")));
            let option = format!("--{option}");
            let words = ["m", of, &*option].into_iter();
            for line in [words.clone().collect(), words.chain(["x"]).collect()] {
                let line: Vec<&str> = line;
                let error = command.clone().try_get_matches_from(line).unwrap_err();
                assert!(error.to_string().contains(remedy), "{error}");
            }
        }
    }

    #[test]
    fn an_option_that_a_reader_adds_is_not_refused() {
        let last = Arg::new("last").long("last").num_args(1);
        let run = Command::new("run").arg(Arg::new("volumes"));
        let ps = Command::new("ps").arg(last);
        let command = add(Command::new("m").subcommand(ps).subcommand(run), "");
        assert!(
            command.clone().try_get_matches_from(["m", "ps", "--last", "3"]).is_ok()
        );
        assert!(command.try_get_matches_from(["m", "ps", "--latest"]).is_err());
    }

    #[test]
    fn a_named_volume_is_refused() {
        let volume = |text: &str| volume(OsStr::new(text));
        let error = volume("data:/x").unwrap_err().to_string();
        assert!(error.contains("./data"), "{error}");
        for directory in ["./data:/x", "/data:/x:ro", ".:/x", "a/b:/x"] {
            assert!(volume(directory).is_ok(), "{directory}");
        }
    }
}
