//! A batch: changes that the kernel applies completely or not at all.

use anyhow::Result;
use ch02_net::netlink::{
    Message, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL,
};
use common::step::{Hint, Step};
use nix::errno::Errno;
use rustix::net::sockopt;

use super::{
    COMMENT, Chain, Expression, Hook, NFNL_SUBSYS_NFTABLES, NFT_MSG_DELRULE,
    NFT_MSG_DELTABLE, NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE,
    NFTA_CHAIN_HOOK, NFTA_CHAIN_NAME, NFTA_CHAIN_TABLE, NFTA_CHAIN_TYPE,
    NFTA_HOOK_HOOKNUM, NFTA_HOOK_PRIORITY, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS,
    NFTA_RULE_HANDLE, NFTA_RULE_TABLE, NFTA_RULE_USERDATA, NFTA_TABLE_FLAGS,
    NFTA_TABLE_NAME, NftSocket, Table, message, text, why,
};

/// From include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFNL_BATCH_GENID: u16 = 1;
const NFT_TABLE_F_OWNER: u32 = 2;
/// The number of changes that fit in a socket's buffer of the default size.
const DEFAULT_BUFFER_CHANGES: usize = 100;
/// The maximum length of our rules, in bytes.
const MAX_RULE: usize = 1024;

/// Changes that are being collected, each with its text for an error.
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
    /// [`NftSocket::generation`].
    #[must_use]
    pub fn of_generation(generation: u32) -> Batch {
        Batch { generation: Some(generation), ..Batch::default() }
    }

    /// Whether the batch has no changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Create a table. If it is `owned`, the kernel removes it with the socket that
    /// commits it.
    pub fn add_table(&mut self, table: &Table) {
        let flags = if table.owned { NFT_TABLE_F_OWNER } else { 0 };
        let create = NLM_F_CREATE | NLM_F_EXCL;
        let message = message(NFT_MSG_NEWTABLE, create, table.family)
            .attribute(NFTA_TABLE_NAME, &text(&table.name))
            .attribute(NFTA_TABLE_FLAGS, &flags.to_be_bytes());
        self.changes.push((message, format!("add table {table}")));
    }

    /// Delete a table with its chains and rules.
    pub fn delete_table(&mut self, table: &Table) {
        let message = message(NFT_MSG_DELTABLE, 0, table.family)
            .attribute(NFTA_TABLE_NAME, &text(&table.name));
        self.changes.push((message, format!("delete table {table}")));
    }

    /// Create a base chain with the policy accept.
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
impl NftSocket {
    /// Apply all changes of a batch at once, or none of them.
    ///
    /// # Errors
    /// The errno of the first change that the kernel refused, with its text: EPERM
    /// if the caller lacks CAP_NET_ADMIN, or if another process owns the table;
    /// ENOENT if the kernel lacks an expression; EEXIST if the table exists already.
    /// ERESTART if the generation of the rule set is not that of the batch.
    pub fn commit(&self, batch: Batch) -> Result<()> {
        let (changes, texts): (Vec<_>, Vec<_>) = batch.changes.into_iter().unzip();
        let count = changes.len();
        if count == 0 {
            return Ok(());
        }
        let mut begin = mark(NFNL_MSG_BATCH_BEGIN);
        if let Some(generation) = batch.generation {
            begin = begin.attribute(NFNL_BATCH_GENID, &generation.to_be_bytes());
        }
        let mut messages = vec![begin];
        messages.extend(changes);
        // One acknowledgement is enough: the kernel always answers a change that
        // failed.
        let last = messages.pop().map(|change| change.flags(NLM_F_ACK));
        messages.extend(last);
        messages.push(mark(NFNL_MSG_BATCH_END));
        self.make_room(count)?;
        let outcome = self.0.ask_batch(&messages);
        let text = match outcome {
            // The begin message is at position 0, the first change at 1.
            Err((position @ 1.., _)) if position <= count => {
                format!("nf_tables: {}", texts[position - 1])
            }
            _ => format!("nf_tables: a batch of {count} changes"),
        };
        outcome
            .map_err(|(_, errno)| errno)
            .step(|| text)
            .hint(|errno| why_not_changed(errno, count))
    }

    /// A batch is one datagram, which must fit in the socket's buffer.
    fn make_room(&self, changes: usize) -> Result<()> {
        if changes <= DEFAULT_BUFFER_CHANGES {
            return Ok(());
        }
        let size = changes * MAX_RULE;
        // Without CAP_NET_ADMIN in the initial user namespace, the limit is
        // net.core.wmem_max.
        sockopt::set_socket_send_buffer_size_force(&self.0, size)
            .or_else(|_| sockopt::set_socket_send_buffer_size(&self.0, size))
            .untraced(|| format!("setsockopt(2) SO_SNDBUF {size}"))
    }
}
// ANCHOR_END: commit

/// The message that begins or ends a batch.
fn mark(kind: u16) -> Message {
    // struct nfgenmsg: no family, version 0, the subsystem in network byte order.
    let [high, low] = NFNL_SUBSYS_NFTABLES.to_be_bytes();
    Message::new(kind, 0).plain(&[0, 0, high, low])
}

fn why_not_changed(errno: Errno, changes: usize) -> Option<String> {
    match errno {
        Errno::ENOENT => Some(
            "the kernel lacks this feature, or does not have this object: the \
             modules nft_chain_nat, nft_fib_ipv4, nft_ct, nft_nat and nft_masq are \
             required, so try modprobe(8)"
                .to_owned(),
        ),
        Errno::EEXIST => {
            Some("a table of this name exists: `nft list tables`".to_owned())
        }
        Errno::EOPNOTSUPP => Some(
            "tables with an owner need Linux 5.12 (NFT_TABLE_F_OWNER)".to_owned(),
        ),
        Errno::EMSGSIZE => Some(format!(
            "{changes} changes are too many for one commit: publish fewer ports, or \
             raise net.core.wmem_max"
        )),
        Errno::EPERM => why(errno)
            .map(|hint| format!("either another process owns the table, or {hint}")),
        _ => None,
    }
}
