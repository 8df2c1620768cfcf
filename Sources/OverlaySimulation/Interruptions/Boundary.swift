import OverlayDriver
import OverlayModel
import OverlayNode

/// Place at which a daemon can die: before, in the middle of, or after an effect of its node.
struct Boundary: Hashable, Sendable, CustomStringConvertible {
    /// How far the effect came.
    enum Phase: Hashable, Sendable {
        /// It was not begun, and neither was what follows it in the same event.
        case before
        /// The kernel carried out this number of the batch's operations, and not the next one.
        case partly(Int)
        /// It was carried out, and nothing that follows it in the same event.
        case after
        /// All effects of the event were carried out, but the transaction is not on the disk.
        case uncommitted
        /// The transaction is on the disk, and the node was not told.
        case committed
    }

    /// Rows that were given to the disk before and are not on it yet.
    enum Disk: String, Hashable, Sendable {
        case none = ""
        case lost = ", earlier rows lost"
        case kept = ", earlier rows kept"
    }

    /// Operation, and the call that its engine made last.
    var operation: String
    /// Part of the node in the operation.
    var role: String
    /// Kind of the effect, and its number among those of its kind.
    var effect: String
    var phase: Phase
    var disk = Disk.none

    var description: String { "\(operation) / \(role) / \(effect) / \(phase)\(disk.rawValue)" }
}

extension NodeEffect {
    /// Kind of the effect, and how far it can come with a result that outlives the daemon: none where it changes nothing outside of
    /// the process, so that a death before and after it is one and the same.
    var interruptions: (kind: String, phases: [Boundary.Phase]) {
        switch self {
        case .store: ("store", [.before, .uncommitted, .committed])
        case .apply(_, let operations): ("apply", [.before] + (1..<max(operations.count, 1)).map { .partly($0) } + [.after])
        case .respond: ("reply", [.before, .after])
        case .answer: ("answer", [.before, .after])
        case .send(_, let bytes, _):
            switch bytes.first.flatMap(Node.MessageKind.init(rawValue:)) {
            // Probes come by the clock, and nothing that is stored depends on one of them.
            case .membership, nil: ("probe", [])
            case .replication: ("send record", [.before, .after])
            case .catalogue: ("send entry", [.before, .after])
            case .addresses: ("send address", [.before, .after])
            }
        case .engineCall(_, let call):
            switch call {
            case .createNetwork, .removeNetwork, .connect, .start: ("engine call", [.before, .after])
            case .networks, .otherNetworks, .addressPools, .containers, .containersOn, .endpoints, .network, .container,
                .configured, .interfaces, .lastStart:
                ("question", [])
            }
        case .restore: ("restore port", [.before, .after])
        case .addRoutes: ("add routes", [.before, .after])
        case .moveRoutes: ("move routes", [.before, .after])
        case .notify: ("notify", [.before, .after])
        case .raiseBoot: ("raise boot", [.before, .after])
        case .contact: ("contact", [.before, .after])
        case .admit: ("admit", [.before, .after])
        // Sockets and tables of the process, which end with it, and what only reads.
        case .observe, .look, .listen, .peers, .names, .subnets, .otherNames, .unsettled, .suspects, .publishNames, .serve,
            .unserve, .readRoutes, .readHost, .lookForRoutes, .makeKey, .log:
            ("nothing", [])
        }
    }
}
