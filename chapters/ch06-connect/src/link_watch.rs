//! The end of a device, as an event.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use ch02_net::Route;
use common::step::Step;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};

/// A socket that becomes readable when a device is removed. The kernel tells a member of
/// this multicast group about all devices; a filter keeps the process asleep for all
/// devices but one.
///
/// # Source
/// rtnetlink(7), RTMGRP_LINK; socket(7), SO_ATTACH_FILTER
#[derive(Debug)]
pub struct LinkWatch(OwnedFd);

/// The multicast group of links.
const RTMGRP_LINK: u32 = 1;

impl LinkWatch {
    /// Watch the device of this name in the present network namespace.
    ///
    /// # Errors
    /// ENODEV if there is no such device; those of socket(2).
    pub fn new(device: &str) -> Result<LinkWatch> {
        let index = Route::open()?.link(device)?.index;
        let (family, flags) = (AddressFamily::NETLINK, SocketFlags::CLOEXEC);
        let socket = socket_with(family, SocketType::RAW, flags, None)
            .look(|| "socket(2) AF_NETLINK")?;
        // The filter comes before the membership: no event of another device gets in.
        common::only_removal_of(socket.as_fd(), index)
            .look(|| "setsockopt(2) SO_ATTACH_FILTER")?;
        bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK))
            .look(|| "bind(2) RTMGRP_LINK")?;
        Ok(LinkWatch(socket))
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
