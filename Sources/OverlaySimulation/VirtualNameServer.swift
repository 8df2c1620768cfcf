import OverlayDNS
import OverlayModel
import OverlayNode

/// Name server of one host as a value: the tables that its node gave out, and what is served with them.
struct VirtualNameServer {
    /// A sandbox that is served, with the sockets that the real server has in it.
    struct Sandbox {
        var responder: Responder
        /// Number of this service; events for an earlier one reach nobody.
        var life: UInt64
        /// True if the socket that asks the resolver has not yet told that its last datagram was refused.
        var isRefused = false
        var isTicking = false
        var isLooking = false
    }

    typealias Flag = WritableKeyPath<Sandbox, Bool>

    /// A question that a container waits for.
    struct Question {
        var number: UInt64
        var path: String
        var life: UInt64
        var name: String
        var message: [UInt8]
        var asked: Instant
        var answered: (NameAnswer) -> Void
    }

    var tables = NameTables()
    var sandboxes: [String: Sandbox] = [:]
    var resolver = VirtualResolver()
    /// Open questions by who asks.
    var questions: [DNSClient: [Question]] = [:]
    /// Generator of the server, and that of the resolver.
    var generator: SeededGenerator
    var random: SeededGenerator
    /// Number of answers, failures among them, and questions that were given up.
    var answers = 0
    var failures = 0
    var expiries = 0
    private var last: UInt64 = 0

    init(seed: UInt64) {
        generator = SeededGenerator(seed: seed)
        random = SeededGenerator(seed: ~seed)
    }

    /// Takes what the node tells of names.
    mutating func learn(_ effect: NodeEffect) {
        switch effect {
        case .names(let network, let names): tables.networks[network] = names
        case .subnets(let subnets): tables.setSubnets(subnets)
        case .otherNames(let network, let names): tables.others[network] = names
        case .unsettled(let networks): tables.unsettled = networks
        case .suspects(let owners): tables.suspects = owners
        default: break
        }
    }

    /// A number that was not given before.
    mutating func number() -> UInt64 {
        last += 1
        return last
    }
}

/// Answer to a container's question.
struct NameAnswer: Hashable {
    var code: UInt8
    /// In order, none where the code is not 0.
    var addresses: [IPAddress]
}
