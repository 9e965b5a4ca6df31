//! The part of the poll loop that adds a container's name to the files of the other
//! containers of its network, while the program runs.

use std::os::fd::OwnedFd;

use anyhow::Result;
use ch06_network::{Claim, Network, Networks};
use common::Watch;
use common::state::State;
use common::step::Step;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};

use crate::hosts;

/// The number of files that are changed before the poll loop serves the other
/// watches again. This takes about 0.2 ms.
const FILES_PER_ROUND: usize = 16;

pub(crate) struct HostsUpdate {
    /// Always readable, so that the poll loop comes back at once. `None` when all
    /// files are changed.
    more: Option<OwnedFd>,
    state: State,
    network: Network,
    claim: Claim,
    done: usize,
}

impl HostsUpdate {
    /// # Errors
    /// EMFILE.
    pub(crate) fn new(
        state: State,
        network: Network,
        claim: Claim,
    ) -> Result<HostsUpdate> {
        let more = eventfd(1, EventfdFlags::CLOEXEC).untraced(|| "eventfd2(2)")?;
        Ok(HostsUpdate { more: Some(more), state, network, claim, done: 0 })
    }
}

impl Watch for HostsUpdate {
    fn wants<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.extend(self.more.iter().map(|more| PollFd::new(more, PollFlags::IN)));
    }

    fn ready(&mut self, events: &[PollFlags]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let others = &self.claim.others;
        let end = others.len().min(self.done + FILES_PER_ROUND);
        let networks = Networks::lock(&self.state)?;
        let some = &others[self.done..end];
        hosts::publish(&networks, &self.network, &self.state, &self.claim, some)?;
        self.done = end;
        if end == others.len() {
            self.more = None;
        }
        Ok(())
    }
}
