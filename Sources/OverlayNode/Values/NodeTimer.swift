/// Timers of a node. Those that are due at one moment fire in this order.
enum NodeTimer: CaseIterable, Hashable, Sendable {
    /// Members, and all that depends on them, are brought in line with the catalogue.
    case follow
    /// Rows that the store refused are tried again.
    case store
    /// The catalogue writer makes the next gossip key.
    case rotateKey
    /// Every member spoke a later version of the protocol for long enough.
    case version
    /// Addresses of a removed node leave quarantine.
    case quarantine
    /// The kernel is read and repaired.
    case repair
    /// Links of ports that were deleted are ended.
    case reap
    /// Networks that others changed in the kernel are looked at.
    case look
    /// Subnets that were given up are proposed.
    case close
    /// Addresses that were given up are proposed.
    case handOver
    /// Peers had long enough to say what they heard of this node.
    case assure
    /// Questions that the engine did not answer are asked again.
    case askEngine
    /// The engine's networks are compared with the cluster's.
    case mirror
    /// Removals of networks are decided.
    case removal
    /// Containers that the engine gave up during a prune are looked for.
    case restarts
    /// Endpoints waited long enough for the name of their network.
    case admission
    /// The host's routes are read.
    case surroundings
    /// The host's addresses are read.
    case host
    /// Others are told of the host's routes.
    case announceRoutes
    /// A new epoch is proposed for a node with an old copy of its state.
    case newEpoch
    /// Names that were awaited from the engine are awaited no more.
    case settle
    /// The engine is asked whether it has all that this host holds for it.
    case reconcile
}
