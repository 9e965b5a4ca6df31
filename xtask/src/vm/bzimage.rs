//! Kernel images: extracting vmlinux from a bzImage.

use anyhow::{Context, Result, bail, ensure};

/// The vmlinux of an image, an ELF file, if its compression is supported: lz4, zstd
/// or xz. With a vmlinux, the guest does not need to decompress the kernel at boot,
/// which takes most of a second under emulation.
///
/// # Source
/// Documentation/arch/x86/boot.rst of Linux, "payload_offset"
pub(crate) fn vmlinux(image: &[u8]) -> Result<Option<Vec<u8>>> {
    if image.starts_with(b"\x7fELF") {
        return Ok(Some(image.to_vec()));
    }
    ensure!(
        image.get(0x202..0x206) == Some(b"HdrS"),
        "neither a vmlinux nor a bzImage"
    );
    let number = |at: usize| -> Result<usize> {
        let bytes = image.get(at..at + 4).context("the header is truncated")?;
        Ok(u32::from_le_bytes(bytes.try_into()?) as usize)
    };
    // Zero means four, in images from before 1995.
    let sectors = match image[0x1f1] {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (sectors + 1) * 512 + number(0x248)?;
    let end = start
        .checked_add(number(0x24c)?)
        .context("the payload exceeds the image")?;
    let payload = image.get(start..end).context("the image is truncated")?;
    // Except for gzip, the uncompressed size follows the payload.
    let (packed, size) =
        payload.split_at_checked(payload.len().wrapping_sub(4)).unwrap_or_default();
    let size = size.try_into().map_or(0, u32::from_le_bytes) as usize;
    let out = match payload {
        [0x02, 0x21, 0x4c, 0x18, ..] => {
            lz4(packed.get(4..).context("lz4: the payload is truncated")?)?
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => super::modules::zstd(packed)?,
        [0xfd, b'7', b'z', b'X', b'Z', ..] => super::modules::xz(packed)?,
        _ => return Ok(None),
    };
    ensure!(
        out.len() == size && out.starts_with(b"\x7fELF"),
        "the kernel in the bzImage is damaged"
    );
    Ok(Some(out))
}

/// Decompress the legacy format: blocks of up to 8 MiB, each preceded by its size.
fn lz4(mut packed: &[u8]) -> Result<Vec<u8>> {
    const BLOCK: usize = 8 << 20;
    let mut out = Vec::new();
    while let Some((size, rest)) = packed.split_first_chunk::<4>() {
        let size = u32::from_le_bytes(*size) as usize;
        let (block, rest) =
            rest.split_at_checked(size).context("lz4: a block is truncated")?;
        out.extend(lz4_flex::block::decompress(block, BLOCK).context("lz4")?);
        packed = rest;
    }
    Ok(out)
}

/// The release of the kernel, as `uname -r` prints it.
pub(crate) fn release(image: &[u8]) -> Result<String> {
    let word = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| matches!(byte, 0 | b' '));
        String::from_utf8_lossy(&bytes[..end.unwrap_or(0)]).into_owned()
    };
    if !image.starts_with(b"\x7fELF") {
        let at = image.get(0x20e..0x210).context("the image is truncated")?;
        let at = usize::from(u16::from_le_bytes([at[0], at[1]])) + 0x200;
        return Ok(word(image.get(at..).context("the image is truncated")?));
    }
    // The text of /proc/version.
    const BANNER: &[u8] = b"Linux version ";
    let found = image.windows(BANNER.len()).position(|window| window == BANNER);
    let Some(at) = found else { bail!("an ELF file, but not a kernel") };
    Ok(word(&image[at + BANNER.len()..]))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// A bzImage with this payload, and with this offset and length in its header.
    fn bzimage(sectors: u8, offset: u32, length: u32, payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 0x400];
        image[0x1f1] = sectors;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x248..0x24c].copy_from_slice(&offset.to_le_bytes());
        image[0x24c..0x250].copy_from_slice(&length.to_le_bytes());
        image.extend(payload);
        image
    }

    const MAGICS: [&[u8]; 4] = [
        &[0x02, 0x21, 0x4c, 0x18],
        &[0x28, 0xb5, 0x2f, 0xfd],
        &[0xfd, b'7', b'z', b'X', b'Z', 0],
        b"",
    ];

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 300,
            ..ProptestConfig::default()
        })]

        #[test]
        fn any_image_is_read_without_a_panic(
            sectors in 0..3_u8,
            offset in prop_oneof![3 => 0..64_u32, 1 => any::<u32>()],
            length in prop_oneof![3 => 0..64_u32, 1 => any::<u32>()],
            magic in prop::sample::select(&MAGICS[..]),
            rest in vec(any::<u8>(), 0..64),
        ) {
            let payload = [magic, &rest].concat();
            let image = bzimage(sectors, offset, length, &payload);
            if let Ok(Some(kernel)) = vmlinux(&image) {
                prop_assert!(kernel.starts_with(b"\x7fELF"));
            }
            // Its first byte follows the boot sector.
            let image = bzimage(1, 0, payload.len() as u32, &payload);
            if let Ok(Some(kernel)) = vmlinux(&image) {
                prop_assert!(kernel.starts_with(b"\x7fELF"));
            }
            let _ = release(&image);
        }

        #[test]
        fn the_release_of_any_file_is_one_word(bytes in vec(any::<u8>(), 0..700)) {
            for start in [&b"\x7fELF"[..], b""] {
                let image = [start, &bytes, b"Linux version 6.1"].concat();
                let _ = vmlinux(&image);
                if let Ok(release) = release(&image) {
                    prop_assert!(!release.contains(['\0', ' ']));
                }
            }
        }
    }

    #[test]
    fn a_payload_that_ends_after_its_magic_number_is_refused() {
        let image = bzimage(1, 0, 4, MAGICS[0]);
        assert!(vmlinux(&image).is_err());
    }

    #[test]
    fn files_that_are_not_kernels_are_refused() {
        assert!(vmlinux(b"#!/bin/sh").is_err());
        assert!(release(b"\x7fELF\x02\x01\x01").is_err());
        let mut cut_off = vec![0; 0x300];
        cut_off[0x202..0x206].copy_from_slice(b"HdrS");
        cut_off[0x24c] = 255;
        assert!(vmlinux(&cut_off).is_err());
    }

    #[test]
    fn the_release_of_a_vmlinux_is_found() {
        let image = b"\x7fELF\x02\0\0Linux version 6.1.0-47-amd64 (gcc)\0";
        assert_eq!(release(image).unwrap(), "6.1.0-47-amd64");
    }
}
