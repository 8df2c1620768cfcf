/// Keys of log metadata, for cores and shells. Operators search logs by them, so none changes its spelling.
public enum LogKey {
    /// Address and port, or address alone.
    public static let address = "address"
    /// Addresses, separated by spaces or semicolons.
    public static let addresses = "addresses"
    /// Version of the engine's API.
    public static let api = "api"
    /// Size of a message in bytes.
    public static let bytes = "bytes"
    /// Container, by short id.
    public static let container = "container"
    /// The node's tunnel address.
    public static let dataPath = "data-path"
    /// Short id of an endpoint.
    public static let endpoint = "endpoint"
    /// Number of a node's epoch.
    public static let epoch = "epoch"
    /// Cause of a failure, as the system or a library gives it.
    public static let error = "error"
    /// True if the user gave `--force`.
    public static let force = "force"
    /// Sender of what was received.
    public static let from = "from"
    /// Host or hosts by name.
    public static let hosts = "hosts"
    /// Position in the catalogue.
    public static let index = "index"
    /// Bound that was exceeded.
    public static let limit = "limit"
    /// Method of the plugin protocol.
    public static let method = "method"
    /// Name of this node.
    public static let name = "name"
    /// Name or short id of a network.
    public static let network = "network"
    /// Short id of a node.
    public static let node = "node"
    /// Kernel operation.
    public static let operation = "operation"
    /// Number of events of other sources that nothing was logged of.
    public static let others = "others"
    /// Node that owns an endpoint.
    public static let owner = "owner"
    /// Member of the cluster, by name or short id.
    public static let peer = "peer"
    /// Address pools.
    public static let pools = "pools"
    /// UDP and TCP port.
    public static let port = "port"
    /// Cause of a failure, in words for an operator.
    public static let reason = "reason"
    /// Path of a container's network namespace.
    public static let sandbox = "sandbox"
    /// Node that signed or reported something.
    public static let signer = "signer"
    /// Since when a state lasts.
    public static let since = "since"
    /// State of a member of the cluster.
    public static let state = "state"
    /// Subnet, as address and length.
    public static let subnet = "subnet"
    /// Port that another program holds.
    public static let taken = "taken"
    /// Number of the catalogue writer's term.
    public static let term = "term"
    /// Number of events of this source that nothing was logged of.
    public static let unsaid = "unsaid"
    /// MTU of the link below the tunnels.
    public static let underlayMTU = "underlay-mtu"
    /// Version of the protocol between nodes.
    public static let version = "version"
    /// The catalogue writer.
    public static let writer = "writer"
}
