/// Word on whether new endpoints are let on a network of this host's engine. The engine makes a network before anybody can know
/// its name, and the name says which network of the cluster is meant.
enum Admission: UInt8, Hashable, Sendable {
    /// Endpoints are let on.
    case open = 0
    /// The name is not known to the cluster yet. Endpoints wait for it.
    case undecided = 1
    /// Its subnet is that of a network of another name. It is none of the cluster's, and no endpoint is let on.
    case foreign = 2
    /// The cluster has a network of its name with other options. No endpoint is let on either.
    case different = 3
}
