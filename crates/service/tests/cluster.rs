//! The cluster's records: who may come, and what is left of it after a restart.

use base::codec::{Reader, Writer};
use base::{ClusterId, Incarnation, NodeId, ReplicaId, ShardId};
use std::collections::BTreeMap;
use underpin_service::meta::{
    Answer, ClusterMap, Command, NodeRecord, SPACE, ShardKind, ShardRecord,
};
use underpin_service::{Change, Machine};

/// A map and the rows that it wrote.
#[derive(Default)]
struct Cluster {
    map: ClusterMap,
    rows: BTreeMap<base::Bytes, base::Bytes>,
}

impl Cluster {
    fn of_three() -> Cluster {
        let mut cluster = Cluster::default();
        let kinds = [(1, ShardKind::Meta), (2, ShardKind::Kv)];
        let shards = kinds.map(|(shard, kind)| ShardRecord {
            shard: ShardId(shard),
            kind,
            name: kind.name().to_string(),
        });
        let init = Command::Init {
            cluster: ClusterId(5),
            nodes: (1..=3).map(|node| record(node, 0, 0)).collect(),
            shards: shards.to_vec(),
        };
        assert_eq!(cluster.apply(&init), Answer::Done);
        assert_eq!(cluster.apply(&init), Answer::Done, "a repeat changes nothing");
        cluster
    }

    fn apply(&mut self, command: &Command) -> Answer {
        let before = self.map.clone();
        let mut changes = Vec::new();
        let answer = self.map.apply(command, &mut changes);
        if answer != Answer::Done {
            assert_eq!((&before, changes.len()), (&self.map, 0), "refused, and yet changed");
        }
        for change in changes {
            let Change::Put(at, row) = change else { panic!("{change:?}") };
            assert_eq!(at.space, SPACE);
            self.rows.insert(at.key, row);
        }
        self.survives_a_restart();
        answer
    }

    fn survives_a_restart(&self) {
        let mut machine = Machine::meta();
        machine.load(self.rows.clone().into_iter()).expect("rows of ours");
        assert_eq!(machine, Machine::Meta(self.map.clone()));
    }
}

fn record(node: u64, incarnation: u64, apply_level: u32) -> NodeRecord {
    NodeRecord {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        peer_address: format!("10.0.0.{node}:7000"),
        protocol_min: 1,
        protocol_max: 2,
        apply_level,
        ..NodeRecord::default()
    }
}

fn register(node: u64, incarnation: u64, apply_level: u32) -> Command {
    Command::Register(record(node, incarnation, apply_level))
}

#[test]
fn the_first_incarnation_is_pinned_and_another_is_refused_by_name() {
    let mut cluster = Cluster::of_three();
    assert_eq!(cluster.apply(&register(1, 11, 1)), Answer::Done);
    assert_eq!(cluster.apply(&register(1, 11, 1)), Answer::Done);
    let (node, pinned) = (NodeId(1), Incarnation(11));
    assert_eq!(cluster.apply(&register(1, 12, 1)), Answer::OtherIncarnation { node, pinned });
    assert_eq!(cluster.apply(&register(4, 41, 1)), Answer::UnknownNode(NodeId(4)));
    assert_eq!(cluster.apply(&register(2, 0, 1)), Answer::Invalid("incarnation"));
    assert!(cluster.map.is_pinned(node, pinned));
    assert!(!cluster.map.is_pinned(node, Incarnation(12)));
    assert!(cluster.map.is_pinned(NodeId(2), Incarnation(21)), "nobody came yet");
}

#[test]
fn a_replaced_directory_never_comes_back() {
    let mut cluster = Cluster::of_three();
    cluster.apply(&register(1, 11, 1));
    let replace =
        |incarnation| Command::Replace { node: NodeId(1), incarnation: Incarnation(incarnation) };
    assert_eq!(cluster.apply(&replace(12)), Answer::Done);
    assert_eq!(cluster.apply(&replace(12)), Answer::Done);
    let dead = Answer::DeadIncarnation { node: NodeId(1), pinned: Incarnation(12) };
    assert_eq!(cluster.apply(&register(1, 11, 1)), dead);
    assert_eq!(cluster.apply(&replace(11)), dead);
    assert!(!cluster.map.is_pinned(NodeId(1), Incarnation(11)));
    assert_eq!(cluster.apply(&register(1, 12, 1)), Answer::Done);
}

/// A founder's replicas have its node's number, those on later directories the incarnation's. The same
/// is gone for whoever is told of the map by another node.
#[test]
fn replicas_on_replaced_directories_are_gone() {
    let mut cluster = Cluster::of_three();
    cluster.apply(&register(1, 11, 1));
    for incarnation in [12, 13].map(Incarnation) {
        cluster.apply(&Command::Replace { node: NodeId(1), incarnation });
    }
    let mut bytes = Writer::new();
    cluster.map.encode(&mut bytes);
    let mut reader = Reader::new(bytes.finish());
    let told = ClusterMap::decode(&mut reader).unwrap();
    reader.end().unwrap();
    assert_eq!(told, cluster.map);
    let gone = |replica, node| told.is_gone(ReplicaId(replica), NodeId(node));
    assert!(gone(1, 1) && gone(12, 1), "the founder and what followed it");
    assert!(!gone(13, 1) && !gone(14, 1), "what is pinned, and what may be pinned next");
    assert!(!gone(2, 2) && !gone(12, 2), "other nodes are what they were");
}

#[test]
fn a_founder_that_never_came_can_be_replaced_and_its_first_directory_is_too_late() {
    let mut cluster = Cluster::of_three();
    let (node, pinned) = (NodeId(3), Incarnation(32));
    let replace = Command::Replace { node, incarnation: pinned };
    assert_eq!(cluster.apply(&replace), Answer::Done);
    assert!(cluster.map.dead.contains(&(node, Incarnation(0))), "its replicas are replaced too");
    assert_eq!(cluster.apply(&register(3, 31, 1)), Answer::OtherIncarnation { node, pinned });
    assert_eq!(cluster.apply(&register(3, 32, 1)), Answer::Done);
}

#[test]
fn the_apply_level_rises_with_the_last_node_and_never_sinks() {
    let mut cluster = Cluster::of_three();
    cluster.apply(&register(1, 11, 2));
    cluster.apply(&register(2, 21, 3));
    assert_eq!(cluster.map.apply_level, 0);
    cluster.apply(&register(3, 31, 2));
    assert_eq!(cluster.map.apply_level, 2);
    let low = Answer::LevelTooLow { needed: 2, supported: 1 };
    assert_eq!(cluster.apply(&register(3, 31, 1)), low);
    cluster.apply(&register(1, 11, 3));
    cluster.apply(&register(3, 31, 4));
    assert_eq!(cluster.map.apply_level, 3);
}

#[test]
fn another_cluster_is_refused() {
    let mut cluster = Cluster::of_three();
    let init = Command::Init { cluster: ClusterId(6), nodes: Vec::new(), shards: Vec::new() };
    assert_eq!(cluster.apply(&init), Answer::OtherCluster(ClusterId(5)));
}
