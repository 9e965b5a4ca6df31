//! Property tests that start from answers of Linux 6.1, in `corpus`: the lists of a
//! network namespace with a bridge, a veth pair, an address and a route.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::address::address;
use crate::link::{Link, link};
use crate::netlink::{Body, answers};
use crate::routes::entry;

const CORPUS: [&[u8]; 4] = [
    include_bytes!("../corpus/links.bin"),
    include_bytes!("../corpus/addresses.bin"),
    include_bytes!("../corpus/routes.bin"),
    include_bytes!("../corpus/error.bin"),
];

/// The objects of a list, and whether it ends without an error.
fn objects(bytes: &[u8]) -> (Vec<&[u8]>, Option<bool>) {
    let (mut objects, mut end) = (Vec::new(), None);
    for answer in answers(bytes) {
        match answer.body {
            Body::Data(object) => objects.push(object),
            Body::End(result) => end = Some(result.is_ok()),
        }
    }
    (objects, end)
}

#[test]
fn the_kernels_answers_are_read() {
    let (list, end) = objects(CORPUS[0]);
    assert_eq!(end, Some(true));
    let links: Vec<Link> = list.into_iter().map(link).collect();
    let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    assert_eq!(names, ["lo", "br0", "v1", "v0"]);
    let [lo, bridge, inner, port] = &links[..] else { panic!("{names:?}") };
    assert!(lo.loopback && lo.up && bridge.up && !bridge.loopback);
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    assert_eq!(bridge.alias.as_deref(), Some("mydocker network 0123"));
    assert_eq!((inner.peer, port.peer), (Some(port.index), Some(inner.index)));
    assert_eq!(port.master, Some(bridge.index));

    let (list, end) = objects(CORPUS[1]);
    assert_eq!(end, Some(true));
    let list: Vec<_> = list.into_iter().map(|it| address(it).unwrap()).collect();
    let own = list.iter().find(|it| it.index == bridge.index).unwrap();
    assert_eq!((own.address.to_string().as_str(), own.prefix), ("192.168.10.1", 24));

    let (list, end) = objects(CORPUS[2]);
    assert_eq!(end, Some(true));
    let list: Vec<_> = list.into_iter().map(|it| entry(it).unwrap()).collect();
    let far = list.iter().find(|it| it.gateway.is_some()).unwrap();
    assert_eq!((far.destination.octets(), far.prefix), ([10, 9, 0, 0], 16));
    assert_eq!(far.gateway.unwrap().octets(), [192, 168, 10, 9]);
    assert_eq!(far.device, Some(bridge.index));

    assert_eq!(objects(CORPUS[3]), (Vec::new(), Some(false)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// No changed answer causes a panic, and nothing is read that is not there.
    #[test]
    fn a_changed_answer_is_read_within_its_bounds(
        which in any::<Index>(),
        changes in vec((any::<Index>(), prop_oneof![0..=40_u8, any::<u8>()]), 0..8),
        end in any::<Index>(),
    ) {
        let mut bytes = CORPUS[which.index(CORPUS.len())].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        // A third of them is whole.
        bytes.truncate(end.index(bytes.len() * 3 / 2));
        let (list, _) = objects(&bytes);
        let length: usize = list.iter().map(|object| object.len()).sum();
        prop_assert!(length <= bytes.len());
        for object in list {
            // The kind of a message is not in its object: each reader may get any.
            let read = (link(object), address(object), entry(object));
            prop_assert!(read.0.name.len() <= 3 * object.len());
        }
    }
}
