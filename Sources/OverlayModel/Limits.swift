/// The bounds of everything that comes from outside. Each is checked before memory is taken.
public enum Limits {
    /// One text field of a message (a name, a label), in bytes.
    public static let stringBytes = 1024
    /// Elements of one list in a message.
    public static let listCount = 65_536
    /// A datagram on 7946, sealed, in bytes: fits an IPv6 path of 1280 with its headers.
    public static let datagramBytes = 1200
    /// What sealing adds to a message, in bytes.
    public static let sealBytes = 48
    /// One frame of a stream on 7946, sealed, in bytes.
    public static let frameBytes = 4 << 20
    /// A request body on the plugin or control socket, in bytes.
    public static let requestBodyBytes = 1 << 20
    /// What counts events (indices, sequences): counted from 1, none comes near it, and sums of two do not overflow.
    public static let counter: UInt64 = 1 << 62
    /// Members of one cluster.
    public static let members = 4096
    /// Routes of one member that the choice of subnets keeps away from.
    public static let routesPerMember = 64
    /// Networks of one cluster.
    public static let networks = 16_384
    /// Blocks of one subnet.
    public static let blocksPerSubnet = 32_768
    /// Aux addresses of one subnet.
    public static let auxiliaryAddresses = 256
    /// The name of a network, in bytes.
    public static let networkNameBytes = 253
    /// What a network's labels and options may take in the catalogue, in bytes, and how many of each kind there may be.
    public static let descriptionBytes = 8192
    public static let descriptionPairs = 128
    /// Subnets of one network.
    public static let subnetsPerNetwork = 32
    /// Names of one endpoint, and their bytes together: a record with them fits a datagram.
    public static let namesPerEndpoint = 20
    public static let nameBytesPerEndpoint = 448
    /// Exposed ports of one endpoint that are told.
    public static let portsPerEndpoint = 16
    /// Endpoints of one owner on one network.
    public static let endpointsPerLog = 65_536
}
