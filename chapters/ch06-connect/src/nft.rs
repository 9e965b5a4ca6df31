//! nf_tables, the kernel's packet filter, through its netlink messages. nft(8) and
//! iptables(8) send the same messages.
//!
//! A table contains chains, a chain contains rules, and a rule contains expressions.
//! A change is a [`Batch`], which the kernel applies completely or not at all.

mod batch;
mod expression;

use std::fmt;

use anyhow::Result;
use ch02_net::netlink::{Message, NLM_F_ACK, NLM_F_DUMP, Socket, attributes};
use common::step::{Hint, Step};
use nix::errno::Errno;
use rustix::net::netlink::NETFILTER;

pub use batch::Batch;
pub use expression::{Expression, Is};

/// From include/uapi/linux/netfilter/nfnetlink.h and nf_tables.h.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_NEWTABLE: u16 = 0;
const NFT_MSG_GETTABLE: u16 = 1;
const NFT_MSG_DELTABLE: u16 = 2;
const NFT_MSG_NEWCHAIN: u16 = 3;
const NFT_MSG_GETCHAIN: u16 = 4;
const NFT_MSG_NEWRULE: u16 = 6;
const NFT_MSG_GETRULE: u16 = 7;
const NFT_MSG_DELRULE: u16 = 8;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_FLAGS: u16 = 2;
const NFTA_TABLE_OWNER: u16 = 7;
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_TYPE: u16 = 7;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NFTA_HOOK_PRIORITY: u16 = 2;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_EXPRESSIONS: u16 = 4;
const NFTA_RULE_USERDATA: u16 = 7;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_COUNTER_PACKETS: u16 = 2;
/// From include/uapi/linux/netfilter/nf_tables_compat.h.
const NFTA_MATCH_NAME: u16 = 1;
const NFTA_MATCH_INFO: u16 = 3;

/// The type of a comment in the user data of a rule.
///
/// # Source
/// libnftnl, `NFTNL_UDATA_RULE_COMMENT` in include/libnftnl/udata.h
const COMMENT: u8 = 0;

/// The packets that a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv4 and IPv6.
    Inet,
    /// Every other family, by its number.
    Other(u8),
}

impl Family {
    /// The kernel's NFPROTO_ number.
    fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Ip => 2,
            Family::Other(number) => number,
        }
    }

    fn of(answer: &[u8]) -> Family {
        match answer.first() {
            Some(1) => Family::Inet,
            Some(2) => Family::Ip,
            number => Family::Other(number.copied().unwrap_or_default()),
        }
    }
}

/// A table: a family and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The packets that it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// Whether a socket of a process owns the table. The kernel removes the table
    /// when this socket is closed. No other process can change the table.
    pub owned: bool,
}

impl Table {
    /// A table of IPv4 that this process will own.
    #[must_use]
    pub fn owned_ip(name: impl Into<String>) -> Table {
        Table { family: Family::Ip, name: name.into(), owned: true }
    }
}

impl fmt::Display for Table {
    /// As nft(8) writes it: `ip NAME`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.family {
            Family::Ip => write!(f, "ip {}", self.name),
            Family::Inet => write!(f, "inet {}", self.name),
            Family::Other(number) => write!(f, "family {number} {}", self.name),
        }
    }
}

/// The hooks in the kernel at which a chain can see packets. The numbers are those
/// of `enum nf_inet_hooks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Received, before routing.
    Prerouting = 0,
    /// Received, from one device to another.
    Forward = 2,
    /// Sent by a process of this network namespace.
    Output = 3,
    /// About to leave, after routing.
    Postrouting = 4,
}

/// A base chain: a chain that the kernel calls at a hook.
#[derive(Clone, Copy, Debug)]
pub struct Hook {
    /// The chain's name.
    pub chain: &'static str,
    /// `nat` sees the first packet of each connection, `filter` sees all packets.
    pub kind: &'static str,
    /// The hook at which the kernel calls the chain.
    pub place: HookPoint,
    /// The order among the chains of a hook: the lowest comes first.
    pub priority: i32,
}

/// A base chain that exists in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its table.
    pub table: Table,
    /// Its name.
    pub name: String,
    /// `filter`, `nat` or `route`.
    pub kind: String,
    /// The number of its hook: see [`HookPoint`].
    pub place: u32,
    /// The order among the chains of a hook.
    pub priority: i32,
}

/// A rule that exists in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its number in its table. A request to delete the rule contains this number.
    pub handle: u64,
    /// Its comment.
    pub comment: Option<String>,
    /// The packets that its counter has seen, if it has one.
    pub packets: Option<u64>,
}

/// A netlink socket for the rules of one network namespace.
#[derive(Debug)]
pub struct NftSocket(Socket);

impl NftSocket {
    /// Open a socket for the rules of the network namespace of this thread.
    ///
    /// # Errors
    /// EPROTONOSUPPORT if the kernel was built without netfilter.
    pub fn open() -> Result<NftSocket> {
        let socket = Socket::open(Some(NETFILTER));
        socket.map(NftSocket).untraced(|| "socket(2) AF_NETLINK NETLINK_NETFILTER")
    }

    /// The socket, for other requests of NETLINK_NETFILTER.
    pub(crate) fn socket(&self) -> &Socket {
        &self.0
    }

    /// The generation of the rule set. Each commit of any process changes it.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
    /// nf_tables; an errno of sendto(2) or recv(2).
    pub fn generation(&self) -> Result<u32> {
        let request = message(NFT_MSG_GETGEN, NLM_F_ACK, Family::Other(0));
        let answers = self.0.ask(request).untraced(|| "NFT_MSG_GETGEN").hint(why)?;
        let answer = answers.first().map_or(&[][..], |answer| body(answer));
        Ok(find(answer, NFTA_GEN_ID).map_or(0, big_endian) as u32)
    }

    /// All tables, of all families.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
    /// nf_tables; an errno of sendto(2) or recv(2).
    pub fn tables(&self) -> Result<Vec<Table>> {
        let request = message(NFT_MSG_GETTABLE, NLM_F_DUMP, Family::Other(0));
        let answers =
            self.0.ask(request).untraced(|| "NFT_MSG_GETTABLE").hint(why)?;
        Ok(answers.iter().filter_map(|answer| table(answer)).collect())
    }

    /// The port of the socket that owns a table; `None` if there is no such table,
    /// or if no socket owns it.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
    /// nf_tables; an errno of sendto(2) or recv(2).
    pub fn owner(&self, table: &Table) -> Result<Option<u32>> {
        let request = message(NFT_MSG_GETTABLE, NLM_F_ACK, table.family)
            .attribute(NFTA_TABLE_NAME, &text(&table.name));
        match self.0.ask(request) {
            Err(rustix::io::Errno::NOENT) => Ok(None),
            answers => {
                let what = || format!("NFT_MSG_GETTABLE {table}");
                let answers = answers.untraced(what).hint(why)?;
                let owner = answers
                    .first()
                    .and_then(|answer| find(body(answer), NFTA_TABLE_OWNER));
                Ok(owner.map(|owner| big_endian(owner) as u32))
            }
        }
    }

    /// The base chains of these tables. The kernel lists the chains of all tables,
    /// which takes about 1 µs for each.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
    /// nf_tables; an errno of sendto(2) or recv(2).
    pub fn chains(&self, tables: &[Table]) -> Result<Vec<Chain>> {
        let request = message(NFT_MSG_GETCHAIN, NLM_F_DUMP, Family::Other(0));
        let answers =
            self.0.ask(request).untraced(|| "NFT_MSG_GETCHAIN").hint(why)?;
        let chains = answers.iter().filter_map(|answer| chain(answer, tables));
        Ok(chains.collect())
    }

    /// The rules of a chain, from top to bottom.
    ///
    /// # Errors
    /// EPERM if the caller lacks CAP_NET_ADMIN; EINVAL if the kernel lacks
    /// nf_tables; an errno of sendto(2) or recv(2). A chain that does not exist is
    /// not an error: it has no rules.
    pub fn rules(&self, table: &Table, chain: &str) -> Result<Vec<Rule>> {
        let request = message(NFT_MSG_GETRULE, NLM_F_DUMP, table.family)
            .attribute(NFTA_RULE_TABLE, &text(&table.name))
            .attribute(NFTA_RULE_CHAIN, &text(chain));
        let what = || format!("NFT_MSG_GETRULE {table} {chain}");
        let answers = self.0.ask(request).untraced(what).hint(why)?;
        Ok(answers.iter().map(|answer| rule(answer)).collect())
    }
}

/// A message of nf_tables. It begins with struct nfgenmsg: family, version, and a
/// number that only a batch uses.
fn message(kind: u16, flags: u16, family: Family) -> Message {
    let kind = NFNL_SUBSYS_NFTABLES << 8 | kind;
    Message::new(kind, flags).plain(&[family.number(), 0, 0, 0])
}

/// The bytes of the attributes in an answer, after struct nfgenmsg.
fn body(answer: &[u8]) -> &[u8] {
    answer.get(4..).unwrap_or_default()
}

/// The value of the first attribute of this kind.
fn find(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).into_iter().find(|(it, _)| *it == kind).map(|(_, value)| value)
}

fn find_text(bytes: &[u8], kind: u16) -> Option<String> {
    let value = String::from_utf8_lossy(find(bytes, kind)?).into_owned();
    Some(value.trim_end_matches('\0').to_owned())
}

/// A number of nf_tables, which is in network byte order. The numbers of
/// rtnetlink(7) are in host byte order.
fn big_endian(value: &[u8]) -> u64 {
    value.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The text with a NUL at the end, as the kernel expects it.
fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

fn table(answer: &[u8]) -> Option<Table> {
    let values = body(answer);
    Some(Table {
        family: Family::of(answer),
        name: find_text(values, NFTA_TABLE_NAME)?,
        owned: find(values, NFTA_TABLE_OWNER).is_some(),
    })
}

/// Returns `None` for a chain that is not a base chain, or belongs to another table.
fn chain(answer: &[u8], tables: &[Table]) -> Option<Chain> {
    let (family, values) = (Family::of(answer), body(answer));
    let hook = find(values, NFTA_CHAIN_HOOK)?;
    let name = find_text(values, NFTA_CHAIN_TABLE)?;
    Some(Chain {
        table: tables
            .iter()
            .find(|it| it.family == family && it.name == name)?
            .clone(),
        name: find_text(values, NFTA_CHAIN_NAME)?,
        kind: find_text(values, NFTA_CHAIN_TYPE)?,
        place: big_endian(find(hook, NFTA_HOOK_HOOKNUM)?) as u32,
        priority: big_endian(find(hook, NFTA_HOOK_PRIORITY)?) as u32 as i32,
    })
}

fn rule(answer: &[u8]) -> Rule {
    let values = body(answer);
    let list = attributes(find(values, NFTA_RULE_EXPRESSIONS).unwrap_or_default());
    // The data of the first expression with this name for which `read` returns a
    // value.
    let expression = |name: &str, read: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        list.iter().find_map(|(_, expression)| {
            let is = find_text(expression, NFTA_EXPR_NAME)? == name;
            find(expression, NFTA_EXPR_DATA).filter(|_| is).and_then(read)
        })
    };
    let packets = expression("counter", &|data| {
        find(data, NFTA_COUNTER_PACKETS).map(<[u8]>::to_vec)
    });
    // iptables-restore(8) stores comments as a separate match.
    let restored = || {
        let text = expression("match", &|data| {
            let is = find_text(data, NFTA_MATCH_NAME)? == "comment";
            find(data, NFTA_MATCH_INFO).filter(|_| is).map(<[u8]>::to_vec)
        })?;
        let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
        Some(String::from_utf8_lossy(&text[..end]).into_owned())
    };
    Rule {
        handle: find(values, NFTA_RULE_HANDLE).map_or(0, big_endian),
        comment: find(values, NFTA_RULE_USERDATA)
            .and_then(comment)
            .or_else(restored),
        packets: packets.as_deref().map(big_endian),
    }
}

/// The comment in a rule's user data, which is a sequence of type, length and value.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let (value, after) = rest.split_at_checked(usize::from(*length))?;
        if *kind == COMMENT {
            let text = String::from_utf8_lossy(value);
            return Some(text.trim_end_matches('\0').to_owned());
        }
        data = after;
    }
    None
}

fn why(errno: Errno) -> Option<String> {
    match errno {
        Errno::EPERM => Some(
            "firewall rules need CAP_NET_ADMIN in the user namespace that the \
             network namespace belongs to: use sudo"
                .to_owned(),
        ),
        // A kernel without nf_tables answers with this errno.
        Errno::EINVAL => Some(
            "this kernel may lack nf_tables (CONFIG_NF_TABLES): try `modprobe \
             nf_tables`"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    /// Answers of Linux 6.1: a message for each table, and for each chain.
    const CORPUS: [&[u8]; 2] = [
        include_bytes!("../corpus/nft-tables.bin"),
        include_bytes!("../corpus/nft-chains.bin"),
    ];

    /// The bytes of the first message, without its header of 16 bytes.
    fn first(bytes: &[u8]) -> &[u8] {
        let length = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
        &bytes[16..length as usize]
    }

    #[test]
    fn a_table_and_a_chain_of_the_kernel_are_read() {
        let owner = table(first(CORPUS[0])).unwrap();
        let expected = ("x", Family::Inet, false);
        assert_eq!((owner.name.as_str(), owner.family, owner.owned), expected);
        let found = chain(first(CORPUS[1]), std::slice::from_ref(&owner)).unwrap();
        assert_eq!((found.name.as_str(), found.kind.as_str()), ("f", "filter"));
        assert_eq!((found.place, found.priority), (2, 0));
        assert!(chain(first(CORPUS[1]), &[]).is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn a_changed_answer_is_read_or_ignored(
            which in 0..2_usize,
            changes in vec((any::<Index>(), prop_oneof![0..=40_u8, any::<u8>()]), 0..8),
            end in any::<Index>(),
        ) {
            let mut bytes = first(CORPUS[which]).to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(end.index(bytes.len() * 3 / 2));
            let tables: Vec<Table> = table(first(CORPUS[0])).into_iter().collect();
            if let Some(chain) = chain(&bytes, &tables) {
                prop_assert_eq!(&chain.table, &tables[0]);
            }
            let _ = (table(&bytes), rule(&bytes));
        }
    }

    #[test]
    fn a_comment_is_found_after_other_user_data() {
        let data = [7, 1, 9, COMMENT, 3, b'h', b'i', 0];
        assert_eq!(comment(&data).as_deref(), Some("hi"));
        assert_eq!(comment(&[COMMENT, 9, b'h']), None);
        assert_eq!(comment(&[]), None);
    }

    #[test]
    fn a_number_is_in_network_byte_order() {
        assert_eq!(big_endian(&[0, 0, 1, 2]), 258);
        assert_eq!(big_endian(&(-300_i32).to_be_bytes()) as u32 as i32, -300);
    }
}
