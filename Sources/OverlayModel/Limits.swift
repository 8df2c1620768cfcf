/// Bounds of everything that comes from outside. Each is checked before memory is allocated.
public enum Limits {
    /// Size of a text field of a message (a name, a label), in bytes.
    public static let stringBytes = 1024
    /// Number of elements of a list in a message.
    public static let listCount = 65_536
    /// Size of a sealed datagram between nodes, in bytes. With its headers it fits an IPv6 path with an MTU of 1280.
    public static let datagramBytes = 1200
    /// Number of bytes that sealing adds to a message.
    public static let sealBytes = 48
    /// Size of a sealed frame of a stream between nodes, in bytes.
    public static let frameBytes = 4 << 20
    /// Size of a request body on the plugin or control socket, in bytes; of one that lists ports, what is kept of it.
    public static let requestBodyBytes = 1 << 20
    /// Size of a request body that lists a container's ports, in bytes: an engine sends up to 120 for each.
    public static let portBodyBytes = 8 << 20
    /// Bound of counters of events (indices, sequences). Counted from 1 none comes near it, and the sum of two does not overflow.
    public static let counter: UInt64 = 1 << 62
    /// Number of members of a cluster.
    public static let members = 4096
    /// Number of routes of a member that the choice of subnets avoids.
    public static let routesPerMember = 64
    /// Number of routes of a host that are looked at.
    public static let hostRoutes = 1024
    /// Number of networks of a cluster.
    public static let networks = 16_384
    /// Number of blocks of a subnet.
    public static let blocksPerSubnet = 32_768
    /// Number of aux addresses of a subnet.
    public static let auxiliaryAddresses = 256
    /// Size of a network's name, in bytes.
    public static let networkNameBytes = 253
    /// Size of a network's labels and options in the catalogue, in bytes, and number of pairs of each kind.
    public static let descriptionBytes = 8192
    public static let descriptionPairs = 128
    /// Number of subnets of a network.
    public static let subnetsPerNetwork = 32
    /// Number of names of an endpoint, and their bytes together.
    public static let namesPerEndpoint = 1024
    public static let nameBytesPerEndpoint = 65_536
    /// Number of names in an endpoint's record, and their bytes together: a record with them fits a datagram.
    public static let namesPerRecord = 20
    public static let nameBytesPerRecord = 448
    /// Number of names in a part of those that follow, and their bytes together: a part fits a datagram.
    public static let namesPerPart = 48
    public static let nameBytesPerPart = 512
    /// Number of such parts of one endpoint. Filled before the next is begun, they hold all names that an endpoint may have.
    public static let namePartsPerEndpoint = 255
    /// Number of such parts of an owner on a network.
    public static let namePartsPerLog = 16_384
    /// Number of exposed ports of an endpoint that other nodes learn.
    public static let portsPerEndpoint = 16
    /// Number of addresses, and of MACs, that an endpoint may claim by using them.
    public static let claimsPerEndpoint = 16
    /// Number of endpoints of an owner on a network that claim something.
    public static let claimantsPerLog = 1024
    /// Size of a fact about an endpoint, in bytes, and number of facts of an owner on a network.
    public static let factBytes = 512
    public static let factsPerLog = 4096
    /// Number of endpoints of an owner on a network.
    public static let endpointsPerLog = 65_536
}
