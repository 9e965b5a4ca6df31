//! A batch: changes that the kernel applies whole or not at all.

use anyhow::Result;
use ch02_net::netlink::{
    Message, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLMSG_ERROR, number,
};
use common::step::{Hint, Step};
use nix::errno::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags, recv, sendto, sockopt};

use super::{
    COMMENT, Chain, Expression, Hook, NFNL_SUBSYS_NFTABLES, NFT_MSG_DELRULE,
    NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE,
    NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE,
    NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_HANDLE, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_TABLE_FLAGS,
    NFTA_TABLE_NAME, Rules, Table, message, text, why,
};

/// From include/uapi/linux/netfilter/nfnetlink.h, netlink.h and nf_tables.h.
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_BATCH_GENID: u16 = 1;
const NLM_F_APPEND: u16 = 0x800;
const NFT_TABLE_F_OWNER: u32 = 2;
/// The length of struct nlmsghdr in bytes.
const HEADER: usize = 16;
/// A batch up to this length in bytes fits in a socket's buffer as it is.
const SMALL: usize = 100_000;

/// Changes in the making, each with its text for an error.
#[derive(Default)]
pub struct Batch {
    changes: Vec<(Message, String)>,
    generation: Option<u32>,
}

impl Batch {
    /// A batch without changes.
    #[must_use]
    pub fn new() -> Batch {
        Batch::default()
    }

    /// A batch that fails with ERESTART if the rule set is no longer this one, see
    /// [`Rules::generation`].
    #[must_use]
    pub fn of_generation(generation: u32) -> Batch {
        Batch { generation: Some(generation), ..Batch::default() }
    }

    /// Whether there is nothing to change.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Make a table. If it is `owned`, it ends with the socket that commits it.
    pub fn add_table(&mut self, table: &Table) {
        let flags = if table.owned { NFT_TABLE_F_OWNER } else { 0 };
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let message = message(NFT_MSG_NEWTABLE, create, table.family)
            .attribute(NFTA_TABLE_NAME, &text(&table.name))
            .attribute(NFTA_TABLE_FLAGS, &flags.to_be_bytes());
        self.changes.push((message, format!("add table {table}")));
    }

    /// Delete a table with all that it holds.
    pub fn delete_table(&mut self, table: &Table) {
        let message = message(NFT_MSG_DELTABLE, 0, table.family)
            .attribute(NFTA_TABLE_NAME, &text(&table.name));
        self.changes.push((message, format!("delete table {table}")));
    }

    /// Make a base chain whose policy is to accept.
    pub fn add_chain(&mut self, table: &Table, hook: Hook) {
        let Hook { chain, kind, place, priority } = hook;
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let message = message(NFT_MSG_NEWCHAIN, create, table.family)
            .attribute(NFTA_CHAIN_TABLE, &text(&table.name))
            .attribute(NFTA_CHAIN_NAME, &text(chain))
            .nest(NFTA_CHAIN_HOOK, |inside| {
                inside
                    .attribute(NFTA_HOOK_HOOKNUM, &(place as u32).to_be_bytes())
                    .attribute(NFTA_HOOK_PRIORITY, &priority.to_be_bytes())
            })
            .attribute(NFTA_CHAIN_TYPE, &text(kind));
        let what = format!("add chain {table} {chain}, type {kind}");
        self.changes.push((message, what));
    }

    /// Add a rule at the end of a chain.
    pub fn append(&mut self, table: &Table, chain: &str, rule: &[Expression]) {
        self.rule(NLM_F_APPEND, table, chain, rule, None);
    }

    /// Add a rule at the top of a chain, with a comment of at most 127 bytes.
    pub fn insert(&mut self, chain: &Chain, rule: &[Expression], comment: &str) {
        self.rule(0, &chain.table, &chain.name, rule, Some(comment));
    }

    fn rule(
        &mut self,
        flags: u16,
        table: &Table,
        chain: &str,
        rule: &[Expression],
        comment: Option<&str>,
    ) {
        let mut message =
            message(NFT_MSG_NEWRULE, NLM_F_CREATE | flags, table.family)
                .attribute(NFTA_RULE_TABLE, &text(&table.name))
                .attribute(NFTA_RULE_CHAIN, &text(chain))
                .nest(NFTA_RULE_EXPRESSIONS, |list| {
                    rule.iter().fold(list, |list, expression| expression.write(list))
                });
        if let Some(comment) = comment {
            let mut data = vec![COMMENT, comment.len() as u8 + 1];
            data.extend(text(comment));
            message = message.attribute(NFTA_RULE_USERDATA, &data);
        }
        let mut what = format!("add rule {table} {chain}");
        for expression in rule {
            what += &format!(" {expression}");
        }
        self.changes.push((message, what));
    }

    /// Delete a rule by its handle.
    pub fn delete_rule(&mut self, chain: &Chain, handle: u64) {
        let Chain { table, name, .. } = chain;
        let message = message(NFT_MSG_DELRULE, 0, table.family)
            .attribute(NFTA_RULE_TABLE, &text(&table.name))
            .attribute(NFTA_RULE_CHAIN, &text(name))
            .attribute(NFTA_RULE_HANDLE, &handle.to_be_bytes());
        let what = format!("delete rule {table} {name} handle {handle}");
        self.changes.push((message, what));
    }
}

// ANCHOR: commit
impl Rules {
    /// Apply all changes of a batch at once, or none of them.
    ///
    /// # Errors
    /// Those of the first change that the kernel refused, with its text: EPERM
    /// without CAP_NET_ADMIN, or in a table that another process owns; ENOENT where
    /// the kernel lacks an expression; EEXIST where the table exists. ERESTART where
    /// the rule set is not of the batch's generation.
    pub fn commit(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let count = batch.changes.len();
        let whole = || format!("nf_tables, a batch of {count} changes");
        let (first, bytes) = self.enclose(batch);
        if bytes.len() > SMALL {
            // Without CAP_NET_ADMIN in the first user namespace, the limit of
            // net.core.wmem_max remains.
            let socket = &self.0;
            let _ =
                sockopt::set_socket_send_buffer_size_force(socket, bytes.len() * 2)
                    .or_else(|_| {
                        sockopt::set_socket_send_buffer_size(socket, bytes.len())
                    });
        }
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.0, &bytes, SendFlags::empty(), &kernel).look(whole).hint(
            |errno| match errno {
                Errno::EMSGSIZE => Some(format!(
                    "{} bytes of rules are too many for one commit: publish fewer \
                     ports, or raise net.core.wmem_max",
                    bytes.len()
                )),
                _ => None,
            },
        )?;
        let outcome = match self.first_failure(first, count).look(whole)? {
            None => Ok(()),
            Some((change, errno)) => Err((change, errno)),
        };
        let text = match outcome {
            Err((change @ 1.., _)) => {
                format!("nf_tables: {}", batch.changes[change as usize - 1].1)
            }
            _ => whole(),
        };
        outcome.map_err(|(_, errno)| errno).step(|| text).hint(why_not_changed)
    }

    /// The bytes of a batch between its begin and its end, and the sequence number
    /// of the begin. The last change asks for an acknowledgement.
    fn enclose(&self, batch: &Batch) -> (u32, Vec<u8>) {
        // struct nfgenmsg: no family, version 0, and the subsystem in network order.
        let mark = |kind| {
            let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
            Message::new(kind, 0).plain(&[0, 0, high, low])
        };
        let mut begin = mark(NFNL_MSG_BATCH_BEGIN);
        if let Some(generation) = batch.generation {
            begin = begin.attribute(NFNL_BATCH_GENID, &generation.to_be_bytes());
        }
        let first = self.0.next_sequence();
        let mut whole = begin.bytes(first);
        let mut last = 0;
        for (change, _) in &batch.changes {
            last = whole.len();
            whole.extend(change.bytes(self.0.next_sequence()));
        }
        // The flags of its header.
        let flags =
            u16::from_ne_bytes([whole[last + 6], whole[last + 7]]) | NLM_F_ACK;
        whole[last + 6..last + 8].copy_from_slice(&flags.to_ne_bytes());
        whole.extend(mark(NFNL_MSG_BATCH_END).bytes(self.0.next_sequence()));
        (first, whole)
    }

    /// Read the kernel's answers to a batch. Each change that failed has one, and
    /// so has the last change. An answer to the begin is about the whole, and then
    /// it may be the only one.
    ///
    /// Returns the number of the first failed change, from 1, and its errno. The
    /// number 0 is the whole.
    fn first_failure(
        &self,
        first: u32,
        count: usize,
    ) -> rustix::io::Result<Option<(u32, Errno)>> {
        let mut failure: Option<(u32, Errno)> = None;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let (length, _) = recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = &buffer[..length];
            while rest.len() >= HEADER {
                let length = (number(rest, 0) as usize).clamp(HEADER, rest.len());
                let (header, body) = rest[..length].split_at(HEADER);
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                let change = number(header, 8).wrapping_sub(first);
                let kind = u16::from_ne_bytes([header[4], header[5]]);
                if kind != NLMSG_ERROR || change as usize > count {
                    continue;
                }
                let errno = -(number(body, 0) as i32);
                if errno != 0 && failure.is_none_or(|(before, _)| change < before) {
                    failure = Some((change, Errno::from_raw(errno)));
                }
                if change == 0 || change as usize == count {
                    return Ok(failure);
                }
            }
        }
    }
}
// ANCHOR_END: commit

fn why_not_changed(errno: Errno) -> Option<String> {
    match errno {
        Errno::ENOENT => Some(
            "this is missing in the kernel or in its rules: the modules nft_chain_nat, \
             nft_fib_ipv4, nft_ct, nft_nat and nft_masq are needed, so try modprobe(8)"
                .to_owned(),
        ),
        Errno::EEXIST => Some("a table of this name exists: `nft list tables`".to_owned()),
        Errno::EOPNOTSUPP => Some(
            "tables with an owner need Linux 5.12 (NFT_TABLE_F_OWNER)".to_owned(),
        ),
        Errno::EPERM => why(errno).map(|hint| {
            format!("either another process owns the table, or: {hint}")
        }),
        _ => None,
    }
}
