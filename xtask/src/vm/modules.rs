//! The kernel modules that the VM may need, with their dependencies.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use common::step::Step;

/// The modules that containers and their tests use. Modules that are missing or
/// built in are skipped.
pub(crate) const WANTED: [&str; 45] = [
    "aufs",
    "br_netfilter",
    "bridge",
    "dummy",
    "ext4",
    "ip6_tables",
    "ip_tables",
    "ipt_REJECT",
    "iptable_filter",
    "iptable_nat",
    "ipvlan",
    "loop",
    "macvlan",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nf_nat",
    "nf_tables",
    "nfnetlink",
    "nft_chain_nat",
    "nft_compat",
    "nft_counter",
    "nft_ct",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_limit",
    "nft_log",
    "nft_masq",
    "nft_nat",
    "nft_redir",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "overlay",
    "tun",
    "veth",
    "virtio_blk",
    "virtio_mmio",
    "virtio_pci",
    "xt_MASQUERADE",
    "xt_addrtype",
    "xt_comment",
    "xt_conntrack",
    "xt_tcpudp",
];

/// The lists that modprobe(8) reads.
const LISTS: [&str; 3] = ["modules.dep", "modules.alias", "modules.builtin"];

/// Copy the wanted modules from a directory such as /lib/modules/6.1.0 to another
/// one: decompressed, and with lists of only these modules.
///
/// # Errors
/// A list cannot be read, or a module cannot be decompressed.
/// # Source
/// modules.dep(5)
pub(crate) fn pick(from: &Path, to: &Path) -> Result<()> {
    let dependencies = read(from, "modules.dep")?;
    let dependencies: Vec<(&str, Vec<&str>)> = dependencies
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(file, others)| (file, others.split_whitespace().collect()))
        .collect();
    let mut files = BTreeSet::new();
    for (file, others) in &dependencies {
        if WANTED.contains(&module(file).as_str()) {
            files.insert(*file);
            files.extend(others);
        }
    }
    let names: BTreeSet<String> = files.iter().map(|file| module(file)).collect();
    for file in &files {
        let target = to.join(plain(file));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)
                .step(|| format!("mkdir(2) {}", parent.display()))?;
        }
        let path = from.join(file);
        let bytes =
            fs::read(&path).step(|| format!("read(2) {}", path.display()))?;
        let bytes =
            unpacked(file, bytes).with_context(|| path.display().to_string())?;
        fs::write(&target, bytes)
            .step(|| format!("write(2) {}", target.display()))?;
    }
    let mut lists = [String::new(), String::new(), String::new()];
    for (file, others) in dependencies.iter().filter(|(f, _)| files.contains(f)) {
        let others: Vec<&str> = others.iter().map(|other| plain(other)).collect();
        lists[0] += &format!("{}: {}\n", plain(file), others.join(" "));
    }
    // A line has the form: alias PATTERN MODULE.
    for line in read(from, "modules.alias")?.lines() {
        if line.split_whitespace().last().is_some_and(|name| names.contains(name)) {
            lists[1] += &format!("{line}\n");
        }
    }
    // The package of an old kernel may have no list of built-in modules.
    lists[2] = read(from, "modules.builtin").unwrap_or_default();
    for (name, list) in LISTS.iter().zip(lists) {
        let path = to.join(name);
        fs::write(&path, list).step(|| format!("write(2) {}", path.display()))?;
    }
    Ok(())
}

/// The modules that are loaded before the snapshot is taken, because containers of most
/// chapters use them: emulated, their first use would take half a second.
const USUAL: [&str; 8] = [
    "overlay",
    "veth",
    "bridge",
    "nft_chain_nat",
    "nft_masq",
    "nft_nat",
    "nft_ct",
    "nft_fib_ipv4",
];

/// The modules that PID 1 loads, for each of [`BUSES`](super::payload::BUSES), in the
/// order of loading: those that are required to read a disk, and the usual ones. `None`
/// if the kernel cannot read a disk.
///
/// # Errors
/// A list cannot be read.
pub(crate) fn drivers(modules: &Path) -> Result<Option<[Vec<PathBuf>; 2]>> {
    let built_in = read(modules, "modules.builtin")?;
    let built_in: BTreeSet<String> = built_in.lines().map(module).collect();
    let dependencies = read(modules, "modules.dep")?;
    let load = |names: [&str; 3]| -> Option<Vec<PathBuf>> {
        let mut files = Vec::new();
        let names = names.into_iter().map(|name| (name, true));
        let usual = USUAL.into_iter().map(|name| (name, false));
        for (name, is_required) in names.chain(usual) {
            let mut lines = dependencies.lines().filter_map(|l| l.split_once(':'));
            let found = lines.find(|(file, _)| module(file) == name);
            let Some((file, others)) = found else {
                if is_required && !built_in.contains(name) {
                    return None;
                }
                continue;
            };
            // modules.dep lists the deepest dependency last.
            let all = others.split_whitespace().rev().chain([file]);
            for file in all.map(|file| modules.join(file)) {
                if !files.contains(&file) {
                    files.push(file);
                }
            }
        }
        Some(files)
    };
    // virtio_blk last: it reads the disk as soon as it is loaded.
    let mmio = load(["virtio_mmio", "ext4", "virtio_blk"]);
    let pci = load(["virtio_pci", "ext4", "virtio_blk"]);
    Ok(mmio.zip(pci).map(|(mmio, pci)| [mmio, pci]))
}

fn read(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    fs::read_to_string(&path).step(|| format!("read(2) {}", path.display()))
}

/// The kernel's name of a module: some file names contain `-` instead of `_`.
fn module(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.split('.').next().unwrap_or(name).replace('-', "_")
}

/// The name of the decompressed file.
fn plain(file: &str) -> &str {
    file.find(".ko").map_or(file, |at| &file[..at + 3])
}

/// The last bytes of a signed module.
const SIGNED: &[u8] = b"~Module signature appended~\n";

/// Remove the parts of a module that cost time at each load: its signature, and its
/// types for BPF programs, for which the kernel would parse its own types.
///
/// # Source
/// include/linux/module_signature.h, Documentation/bpf/btf.rst of Linux
pub(crate) fn trimmed(mut module: Vec<u8>) -> Vec<u8> {
    const TYPES: &[u8] = b"\0.BTF\0";
    // struct module_signature: four small numbers, three bytes of padding, and the
    // length of the signature before it.
    if let Some([.., a, b, c, d]) = module.strip_suffix(SIGNED) {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let end = module.len().checked_sub(SIGNED.len() + 12 + length);
        module.truncate(end.unwrap_or(module.len()));
    }
    // Rename the section, so that the kernel does not find it.
    let names = module.windows(TYPES.len()).rposition(|name| name == TYPES);
    if let Some(at) = names {
        module[at + 1] = b'_';
    }
    module
}

fn unpacked(file: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
    match file.rsplit('.').next() {
        Some("xz") => xz(&bytes),
        Some("zst") => zstd(&bytes),
        Some("ko") => Ok(bytes),
        _ => bail!("unsupported compression: expected .xz or .zst"),
    }
}

pub(crate) fn xz(packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut reader = lzma_rust2::XzReader::new(packed, true);
    reader.read_to_end(&mut out).context("xz")?;
    Ok(out)
}

pub(crate) fn zstd(packed: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut decoder = ruzstd::decoding::StreamingDecoder::new(packed)
        .map_err(|error| anyhow::anyhow!("zstd: {error}"))?;
    decoder.read_to_end(&mut out).context("zstd")?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_selected_with_its_dependencies_only() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        for name in ["net/bridge/bridge.ko", "net/stp.ko", "gpu/big.ko"] {
            fs::create_dir_all(from.join(name).parent().unwrap()).unwrap();
            fs::write(from.join(name), name).unwrap();
        }
        let list = "net/bridge/bridge.ko: net/stp.ko\nnet/stp.ko:\ngpu/big.ko:\n";
        fs::write(from.join("modules.dep"), list).unwrap();
        let aliases = "# Aliases\nalias rtnl-link-bridge bridge\nalias pci:x big\n";
        fs::write(from.join("modules.alias"), aliases).unwrap();
        pick(&from, &to).unwrap();
        let text = |name: &str| fs::read_to_string(to.join(name)).unwrap();
        assert_eq!(text("net/bridge/bridge.ko"), "net/bridge/bridge.ko");
        assert_eq!(text("net/stp.ko"), "net/stp.ko");
        assert!(!to.join("gpu").exists());
        assert_eq!(
            text("modules.dep"),
            "net/bridge/bridge.ko: net/stp.ko\nnet/stp.ko: \n"
        );
        assert_eq!(text("modules.alias"), "alias rtnl-link-bridge bridge\n");
    }

    #[test]
    fn drivers_follow_their_dependencies_and_a_missing_one_means_no_disk() {
        let dir = tempfile::tempdir().unwrap();
        let list = "v/virtio_mmio.ko: v/virtio.ko v/ring.ko\nv/virtio.ko: v/ring.ko\n\
                    v/ring.ko:\nb/virtio_blk.ko: v/virtio.ko v/ring.ko\n";
        fs::write(dir.path().join("modules.dep"), list).unwrap();
        let built_in = "kernel/fs/ext4/ext4.ko\nkernel/virtio_pci.ko\n";
        fs::write(dir.path().join("modules.builtin"), built_in).unwrap();
        let [mmio, pci] = drivers(dir.path()).unwrap().unwrap();
        let paths = |names: &[&str]| -> Vec<PathBuf> {
            names.iter().map(|name| dir.path().join(name)).collect()
        };
        let rest =
            ["v/ring.ko", "v/virtio.ko", "v/virtio_mmio.ko", "b/virtio_blk.ko"];
        assert_eq!(mmio, paths(&rest));
        assert_eq!(pci, paths(&["v/ring.ko", "v/virtio.ko", "b/virtio_blk.ko"]));
        fs::write(dir.path().join("modules.builtin"), "kernel/ext4.ko\n").unwrap();
        assert_eq!(drivers(dir.path()).unwrap(), None);
    }

    #[test]
    fn a_module_is_trimmed_and_other_data_are_unchanged() {
        let mut signed = b"ELF code\0.text\0.BTF\0.data\0".to_vec();
        let plain = b"ELF code\0.text\0_BTF\0.data\0".to_vec();
        assert_eq!(trimmed(signed.clone()), plain);
        signed.extend(b"12345");
        signed.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 5]);
        signed.extend(SIGNED);
        assert_eq!(trimmed(signed), plain);
        // A module whose signature claims to be longer than the module.
        let odd = [&[0xff; 12], SIGNED].concat();
        assert_eq!(trimmed(odd.clone()), odd);
        assert_eq!(trimmed(b"x".to_vec()), b"x");
    }

    #[test]
    fn module_names_are_those_of_the_kernel() {
        assert_eq!(
            module("kernel/net/ipv4/netfilter/ipt-REJECT.ko.xz"),
            "ipt_REJECT"
        );
        assert_eq!(plain("fs/overlay.ko.xz"), "fs/overlay.ko");
    }
}
