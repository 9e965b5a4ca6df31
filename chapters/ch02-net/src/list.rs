//! `list`: the devices of this network namespace.

use anyhow::Result;

use crate::route::Route;

/// A table of all devices, with their addresses.
///
/// # Errors
/// Those of the netlink socket.
pub fn list() -> Result<String> {
    let route = Route::open()?;
    let addresses = route.addresses()?;
    let mut table = format!("{:<8}{:<17}{:<8}ADDRESSES\n", "INDEX", "NAME", "STATE");
    for link in route.links()? {
        let state = if link.up { "up" } else { "down" };
        let mut row = format!("{:<8}{:<17}{state:<8}", link.index, link.name);
        for it in addresses.iter().filter(|it| it.index == link.index) {
            row += &format!("{}/{} ", it.address, it.prefix);
        }
        table += row.trim_end();
        table.push('\n');
    }
    Ok(table)
}
