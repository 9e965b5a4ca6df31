//! For tests: a fake busybox and fake package managers that need no network.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

use super::source::Places;
use common::state::State;

/// Only one test runs at a time. A child that another thread forks has, until its
/// exec, a copy of the descriptor by which a fake is written; executing the fake
/// then fails with ETXTBSY.
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fake machine: a PATH without programs, and a state directory.
pub(super) struct Machine {
    pub(super) dir: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Machine {
    pub(super) fn new() -> Machine {
        let turn = turn();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("path")).unwrap();
        Machine { dir, _turn: turn }
    }

    pub(super) fn state(&self) -> State {
        State::at(self.dir.path().join("state"))
    }

    pub(super) fn places(&self) -> Places {
        Places { named: None, path: self.dir.path().join("path").into() }
    }

    /// Create a program or a script with this name below the machine's directory.
    pub(super) fn program(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// Add an apt-get that has a package after its lists were read, and the dpkg-deb
    /// that unpacks it. The file `calls` records the requests.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn with_apt(&self) {
        let dir = self.dir.path().display();
        self.program("busybox", busybox());
        let script = format!(
            r#"#!/bin/sh
PATH=/usr/bin:/bin
for word; do case $word in
  -oDir::State::Lists=*) lists=${{word#*=}};;
esac; last=$word; done
echo "$last" >>{dir}/calls
case $last in
  update) echo "W: Failed to fetch one of two" >&2; touch "$lists/read";;
  busybox-static)
    [ -e "$lists/read" ] || {{ echo "E: Unable to locate package" >&2; exit 100; }}
    : >busybox-static_1%3a1.35_all.deb;;
esac
"#
        );
        self.program("path/apt-get", script);
        let script = format!(
            "#!/bin/sh\nPATH=/usr/bin:/bin\nmkdir -p \"$3/bin\"\n\
             cp {dir}/busybox \"$3/bin/busybox\"\n"
        );
        self.program("path/dpkg-deb", script);
    }

    pub(super) fn calls(&self) -> String {
        fs::read_to_string(self.dir.path().join("calls")).unwrap_or_default()
    }

    /// The entries of the layers' directory, sorted.
    pub(super) fn layers(&self) -> Vec<String> {
        let entries = fs::read_dir(self.state().layers()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The smallest program that is accepted as busybox: for any arguments it lists
/// three applets. Like busybox, it requires the name `busybox` in argv[0].
#[cfg(target_arch = "x86_64")]
pub(super) fn busybox() -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    let list = b"bin/busybox\nbin/sh\nusr/bin/env\n";
    let mut code = Vec::new();
    code.extend(b"\x48\x8b\x44\x24\x08"); // mov rax, [rsp + 8]: argv[0]
    code.extend(b"\x80\x38\x62\x74\x0c"); // cmp byte [rax], 'b'; je over the exit
    code.extend(b"\xb8\x3c\0\0\0\xbf\x01\0\0\0\x0f\x05"); // exit(1)
    code.extend(b"\xb8\x01\0\0\0"); // mov eax, 1: write(2)
    code.extend(b"\xbf\x01\0\0\0"); // mov edi, 1
    code.extend(b"\x48\x8d\x35\x10\0\0\0"); // lea rsi, [rip + 16]: the list
    code.push(0xba); // mov edx, its length
    code.extend((list.len() as u32).to_le_bytes());
    code.extend(b"\x0f\x05"); // syscall
    code.extend(b"\xb8\x3c\0\0\0"); // mov eax, 60: exit(2)
    code.extend(b"\x31\xff\x0f\x05"); // xor edi, edi; syscall
    code.extend(list);

    let size = 64 + 56 + code.len() as u64;
    let mut elf = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let u16s = |elf: &mut Vec<u8>, numbers: &[u16]| {
        numbers.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    };
    let u64s = |elf: &mut Vec<u8>, numbers: &[u64]| {
        numbers.iter().for_each(|n| elf.extend(n.to_le_bytes()));
    };
    u16s(&mut elf, &[2, 62, 1, 0]); // ET_EXEC, EM_X86_64, version
    u64s(&mut elf, &[BASE + 64 + 56, 64, 0]); // entry, program and section headers
    u16s(&mut elf, &[0, 0, 64, 56, 1, 0, 0, 0]); // flags, sizes and numbers
    u16s(&mut elf, &[1, 0, 5, 0]); // PT_LOAD, read and execute
    u64s(&mut elf, &[0, BASE, BASE, size, size, 0x1000]);
    elf.extend(code);
    elf
}
