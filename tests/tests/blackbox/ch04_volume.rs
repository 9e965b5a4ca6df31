//! ch04-volume: directories of the host inside the container.
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use blackbox::{Lab, Terminal, user};
use insta::assert_snapshot;
use predicates::prelude::*;
use predicates::str::contains;
use serial_test::file_serial;

fn volume(host: impl AsRef<Path>, guest: &str) -> String {
    format!("{}:{guest}", host.as_ref().display())
}

#[test]
#[file_serial(machine)]
fn guest_write_appears_on_host_and_stays() {
    let lab = Lab::new();
    for new in [Lab::chapter, Lab::as_user] {
        let mut run = new(&lab, "ch04-volume");
        let host = lab.dir().join("v");
        fs::create_dir_all(&host).unwrap();
        std::os::unix::fs::chown(&host, Some(user()), Some(user())).unwrap();
        run.args(["run", "-v", &volume(&host, "/test")]);
        run.args(["sh", "-c", "echo kept > /test/file"]).assert().success();
        assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "kept\n");
        fs::remove_file(host.join("file")).unwrap();
    }
}

#[test]
#[file_serial(machine)]
fn missing_host_directories_are_created_recursively_and_kept() {
    let lab = Lab::new();
    let host = lab.dir().join("a/b/c");
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", &volume(&host, "/x/y/z"), "touch", "/x/y/z/file"]);
    run.assert().success();
    assert!(host.join("file").exists());
}

#[test]
#[file_serial(machine)]
fn the_main_example_works_on_a_terminal_for_root_and_an_ordinary_user() {
    let lab = Lab::new();
    for new in [
        |lab: &Lab| lab.command(&[], "ch04-volume"),
        |lab: &Lab| lab.user_command("ch04-volume"),
    ] {
        let mut command = new(&lab);
        // An ordinary user may create directories here too.
        let host = lab.dir().join("home/deep/v");
        command.args(["run", "-ti", "-v", &volume(&host, "/test"), "sh"]);
        let mut terminal = Terminal::run(command);
        terminal.see("# ");
        terminal.type_keys("echo pid $$ of $(ls /proc | grep -c '^[0-9]')\n");
        terminal.see("pid 1 of ");
        terminal.type_keys("echo kept > /test/file; exit 4\n");
        assert_eq!(terminal.end(), 4);
        assert_eq!(fs::read_to_string(host.join("file")).unwrap(), "kept\n");
        fs::remove_dir_all(lab.dir().join("home/deep")).unwrap();
    }
}

#[test]
#[file_serial(machine)]
fn missing_directories_are_created_with_the_rights_of_the_user() {
    let lab = Lab::new();
    let host = lab.dir().join("home/a/b");
    let mut run = lab.as_user("ch04-volume");
    run.args(["run", "-v", &volume(&host, "/v"), "touch", "/v/file"]);
    run.assert().success();
    for made in [lab.dir().join("home/a"), host.clone(), host.join("file")] {
        let meta = fs::metadata(&made).unwrap();
        assert_eq!((meta.uid(), meta.gid()), (user(), user()), "{made:?}");
    }
    // If only root may create a directory, none is created and no program runs.
    let closed = lab.dir().join("a/b");
    let mut run = lab.as_user("ch04-volume");
    run.args(["run", "-v", &volume(&closed, "/v"), "echo", "ran"]);
    let denied = contains("mkdir(2)").and(contains("EACCES"));
    run.assert().code(125).stdout("").stderr(denied);
    assert!(!lab.dir().join("a").exists());
}

#[test]
#[file_serial(machine)]
fn a_relative_host_path_means_the_working_directory() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", "here/v:/test", "touch", "/test/file"])
        .assert()
        .success();
    assert!(lab.dir().join("here/v/file").exists());
}

#[test]
#[file_serial(machine)]
fn a_failed_start_leaves_no_new_directory() {
    let lab = Lab::new();
    let host = lab.dir().join("a/b/c");
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", &volume(&host, "/x"), "no-such-program"])
        .assert()
        .code(127);
    assert!(!lab.dir().join("a").exists());
    // A directory that existed before is kept, even if it is empty.
    fs::create_dir(lab.dir().join("a")).unwrap();
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", &volume(&host, "/x"), "no-such-program"])
        .assert()
        .code(127);
    assert_eq!(fs::read_dir(lab.dir().join("a")).unwrap().count(), 0);
}

#[test]
#[file_serial(machine)]
fn a_file_can_be_a_volume() {
    let lab = Lab::new();
    let host = lab.dir().join("file");
    fs::write(&host, "one\n").unwrap();
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", &volume(&host, "/etc/new/file")]);
    run.args(["sh", "-c", "cat /etc/new/file; echo two > /etc/new/file"]);
    run.assert().success().stdout("one\n");
    assert_eq!(fs::read_to_string(&host).unwrap(), "two\n");
}

#[test]
#[file_serial(machine)]
fn a_read_only_volume_includes_the_mounts_below_it() {
    let lab = Lab::new();
    let host = lab.dir().join("v");
    let below = host.join("below");
    fs::create_dir_all(&below).unwrap();
    let none = None::<&str>;
    let flags = nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOSUID;
    nix::mount::mount(none, &below, Some("tmpfs"), flags, Some("mode=777")).unwrap();
    for new in [Lab::chapter, Lab::as_user] {
        for file in ["/v/x", "/v/below/x"] {
            let mut run = new(&lab, "ch04-volume");
            run.args([
                "run",
                "-v",
                &format!("{}:/v:ro", host.display()),
                "touch",
                file,
            ]);
            run.assert().code(1).stderr(contains("Read-only file system"));
        }
    }
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", &format!("{}:/v:rw", host.display())]);
    run.args(["touch", "/v/below/x"]).assert().success();
    assert!(below.join("x").exists());
    nix::mount::umount(&below).unwrap();
}

#[test]
#[file_serial(machine)]
fn volumes_may_be_beside_and_inside_each_other() {
    let lab = Lab::new();
    let [one, two] = ["one", "two"].map(|name| lab.dir().join(name));
    let mut run = lab.chapter("ch04-volume");
    // The inner volume is given first.
    run.args(["run", "-v", &volume(&two, "/v/inner"), "-v", &volume(&one, "/v")]);
    run.args(["sh", "-c", "touch /v/a /v/inner/b"]).assert().success();
    assert!(one.join("a").exists() && two.join("b").exists());
    assert!(!one.join("inner/b").exists());
}

#[test]
#[file_serial(machine)]
fn a_device_can_be_a_volume_below_dev() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch04-volume");
    run.args([
        "run",
        "-v",
        "/dev/zero:/dev/nought",
        "head",
        "-c",
        "2",
        "/dev/nought",
    ]);
    run.assert().success().stdout("\0\0");
}

#[test]
#[file_serial(machine)]
fn malformed_volumes_are_refused_before_anything_is_created() {
    let lab = Lab::new();
    let mut said = String::new();
    for spec in [
        "",
        "a",
        ":b",
        "a:",
        "a:b:c:d",
        "a:b",
        "a:/b/../c",
        "a:/",
        "a:/b:x",
        ":",
        "::",
    ] {
        let mut run = lab.chapter("ch04-volume");
        run.env("MYDOCKER_ROOT", lab.dir().join("none"));
        let out = run.args(["run", "-v", spec, "true"]).assert().code(2).stdout("");
        let text = String::from_utf8(out.get_output().stderr.clone()).unwrap();
        said += text.lines().next().unwrap();
        said += "\n";
    }
    assert_snapshot!("malformed-volumes", said);
    assert!(!lab.dir().join("a").exists() && !lab.dir().join("none").exists());
}

#[test]
#[file_serial(machine)]
fn two_volumes_on_one_path_are_refused_before_anything_is_created() {
    let lab = Lab::new();
    let mut run = lab.chapter("ch04-volume");
    run.args(["run", "-v", "a:/v", "-v", "b:/v/.", "true"]);
    run.assert().code(125).stderr(contains("two volumes are mounted on /v"));
    assert!(!lab.dir().join("a").exists());
}

#[test]
#[file_serial(machine)]
fn a_symlink_of_the_image_never_leads_to_the_host() {
    let mut lab = Lab::new();
    let trap = lab.dir().join("trap");
    fs::create_dir(&trap).unwrap();
    symlink(&trap, lab.image().join("absolute")).unwrap();
    let up = format!("../../../../../../../..{}", trap.display());
    symlink(&up, lab.image().join("relative")).unwrap();
    symlink("/nowhere/deep", lab.image().join("dangling")).unwrap();
    lab.update_snapshot();
    for link in ["/absolute", "/relative", "/dangling"] {
        for guest in [link.to_owned(), format!("{link}/sub")] {
            let host = lab.dir().join("v");
            let mut run = lab.chapter("ch04-volume");
            run.args(["run", "-v", &volume(&host, &guest), "touch"]);
            run.arg(format!("{guest}/file")).assert().success();
            assert!(host.join("file").exists(), "{guest}");
            fs::remove_file(host.join("file")).unwrap();
            assert_eq!(fs::read_dir(&trap).unwrap().count(), 0, "{guest}");
            assert!(!Path::new("/nowhere").exists());
        }
    }
}

#[test]
#[file_serial(machine)]
fn a_failed_volume_names_call_paths_and_errno_and_nothing_runs() {
    let lab = Lab::new();
    let file = lab.dir().join("file");
    fs::write(&file, "").unwrap();
    let marker = lab.dir().join("marker");
    let said = |spec: &str| {
        let mut run = lab.chapter("ch04-volume");
        run.args(["run", "-v", &volume(lab.dir(), "/lab"), "-v", spec]);
        let out = run.args(["touch", "/lab/marker"]).assert().code(125).stdout("");
        let text = String::from_utf8(out.get_output().stderr.clone()).unwrap();
        assert!(!marker.exists());
        text.replace(lab.dir().to_str().unwrap(), "DIR")
    };
    // A file below a file; a file over a directory; a directory over a file; a new file
    // in /proc, where no file can be created.
    let new = lab.dir().join("new");
    let specs = [
        volume(file.join("below"), "/x"),
        volume(&file, "/etc"),
        volume(&new, "/etc/passwd"),
        volume(&file, "/proc/new"),
    ];
    let said: String = specs.iter().map(|spec| said(spec)).collect();
    let mut settings = insta::Settings::clone_current();
    settings.add_filter("[0-9a-f]{12}", "ID");
    settings.bind(|| assert_snapshot!("volume-errors", said));
    assert!(!new.exists());
}

#[test]
#[file_serial(machine)]
fn it_works_whether_the_hosts_root_is_shared_or_private() {
    let lab = Lab::new();
    let probe = blackbox::probe();
    for kind in ["shared", "private"] {
        let mut run =
            lab.wrapped(&[probe.as_os_str(), kind.as_ref()], "ch04-volume");
        run.args(["run", "-v", &volume(lab.dir().join("v"), "/v"), "touch", "/v/x"]);
        run.assert().success();
    }
}

#[test]
#[file_serial(machine)]
fn daemons_are_killed_with_the_container() {
    let lab = Lab::new();
    for new in [Lab::chapter, Lab::as_user] {
        let mut run = new(&lab, "ch04-volume");
        let script = "setsid sleep 1000 & setsid sleep 1000 & sleep 0.1; exit 6";
        run.args(["run", "sh", "-c", script]).assert().code(6);
    }
    // The lab looks for the daemons.
}

#[test]
#[file_serial(machine)]
fn help_text_matches_the_snapshot() {
    let lab = Lab::new();
    let page = |words: &[&str]| {
        let mut help = lab.chapter("ch04-volume");
        let out = help.args(words).assert().success().get_output().stdout.clone();
        String::from_utf8(out).unwrap()
    };
    assert_snapshot!("ch04-volume-help", page(&["--help"]));
    assert_snapshot!("ch04-volume-run-help", page(&["run", "--help"]));
}
