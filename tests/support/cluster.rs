//! A Cluster of three masters, and replicas where a test needs them.

use super::redis_server::{Port, RedisServer};

/// Three nodes that share all slots.
pub(crate) struct Cluster {
    /// The masters first.
    pub(crate) nodes: Vec<RedisServer>,
    buses: Vec<Port>,
    further: Vec<String>,
}

impl Cluster {
    /// Starts it; each node has these further lines of configuration.
    pub(crate) fn start(further: &[&str]) -> Self {
        let further = further.iter().map(|line| (*line).to_owned()).collect();
        let mut cluster = Self { nodes: Vec::new(), buses: Vec::new(), further };
        for slots in ["0 5460", "5461 10922", "10923 16383"] {
            let node = cluster.node();
            let _: () = node.ask(&format!("CLUSTER ADDSLOTSRANGE {slots}"));
            let _: () = node.ask(&format!("CLUSTER SET-CONFIG-EPOCH {}", cluster.nodes.len() + 1));
            cluster.nodes.push(node);
        }
        cluster.meet();
        cluster
    }

    /// One more node, which the others do not know yet.
    fn node(&mut self) -> RedisServer {
        let bus = Port::hold();
        let port = format!("cluster-port {}", bus.number());
        // A node whose link has been silent for half of the time-out closes it, and with it loses messages to others.
        let mut lines = vec!["cluster-enabled yes", "cluster-node-timeout 20000", &port];
        lines.extend(self.further.iter().map(String::as_str));
        self.buses.push(bus);
        RedisServer::start_with(&lines)
    }

    /// Waits until all know all.
    fn meet(&self) {
        for (node, bus) in self.nodes.iter().zip(&self.buses).skip(1) {
            let _: () = self.nodes[0].ask(&format!("CLUSTER MEET 127.0.0.1 {} {}", node.port(), bus.number()));
        }
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        for node in &self.nodes {
            node.until("CLUSTER INFO", |info| info.contains("cluster_state:ok") && info.contains(&known));
            // Each link of the bus is there: messages go everywhere.
            node.until("CLUSTER NODES", |nodes| !nodes.contains("disconnected") && !nodes.contains("handshake"));
        }
    }

    /// Adds a replica of this node; it has the node's data when this returns, and is the last of the nodes.
    pub(crate) fn add_replica_of(&mut self, node: usize) {
        let replica = self.node();
        self.nodes.push(replica);
        self.meet();
        let replica = &self.nodes[self.nodes.len() - 1];
        let _: () = replica.ask(&format!("CLUSTER REPLICATE {}", id(&self.nodes[node])));
        replica.until("INFO replication", |info| info.contains("master_link_status:up"));
        for node in &self.nodes {
            node.until("CLUSTER NODES", |nodes| nodes.contains(" slave ") || nodes.contains(",slave "));
        }
    }
}

/// What a node is called in its Cluster.
pub(crate) fn id(node: &RedisServer) -> String {
    node.ask("CLUSTER MYID")
}
