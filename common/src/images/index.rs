//! `index.json`: the list of the images, for other programs.

use std::fs;

use anyhow::Result;

use super::durable::write_durably;
use super::image::Image;
use super::layout::Layout;

impl Layout {
    /// Write `index.json` from the names, unless its content is the same already.
    /// The caller holds the exclusive lock.
    ///
    /// # Errors
    /// readdir(3), write(2), rename(2) or fsync(2) fails.
    ///
    /// # Source
    /// OCI image specification, image-index.md; annotations.md
    pub fn write_index(&self) -> Result<()> {
        let mut manifests = Vec::new();
        for (reference, id) in self.all_names()? {
            // An image that cannot be read is left out. The commands that need it
            // report it.
            let Ok(Some(image)) = Image::by_id(self.state(), &id) else { continue };
            let Ok(about) = fs::metadata(self.blob(&image.manifest)) else {
                continue;
            };
            // None of these texts contains a character that JSON must escape.
            manifests.push(format!(
                r#"{{"mediaType":"{}","digest":"{}","size":{},"annotations":{{"org.opencontainers.image.ref.name":"{reference}"}}}}"#,
                image.media_type,
                image.manifest,
                about.len()
            ));
        }
        let text = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[{}]}}"#,
            manifests.join(",")
        );
        self.write_mark()?;
        let path = self.state().images().join("index.json");
        if fs::read(&path).is_ok_and(|before| before == text.as_bytes()) {
            return Ok(());
        }
        write_durably(&path, text.as_bytes())
    }
}
