import OverlayDriver

/// Faults of the engines' calls of their plugins. One call is struck, whichever comes first.
struct CallFaults {
    enum Kind: String, CaseIterable, Sendable {
        /// The call does not reach the daemon.
        case lost
        /// The daemon carries the call out, and its answer does not reach the engine.
        case answerLost = "answer lost"
        /// The engine does not hear the first answer, and calls once more.
        case again
        /// The call reaches the daemon twice at the same time.
        case twice
        /// The engine dies when it has sent the call.
        case engineDies = "engine dies"
        /// The engine dies when it has the answer, before it stores anything.
        case engineDiesAfter = "engine dies after the answer"
    }

    struct Target {
        var node: Int
        /// Name of the call, as ``DriverRequest/title``.
        var call: String
        var kind: Kind
        /// Called before the call is made, or not made.
        var onStrike: () -> Void
    }

    /// Call to be struck; nil when that is done.
    private var target: Target?
    /// Name of the last call of each node's engine.
    private(set) var last: [Int: String] = [:]

    mutating func arm(_ target: Target) { self.target = target }

    mutating func forgetLast() { last = [:] }

    /// Notes a call.
    ///
    /// - Returns: The fault that strikes it; nil for none.
    mutating func take(_ node: Int, _ request: DriverRequest) -> Target? {
        last[node] = request.title
        guard let target, target.node == node, target.call == request.title else { return nil }
        self.target = nil
        return target
    }
}

extension DriverRequest {
    /// Name of the call.
    var title: String { String("\(self)".prefix { $0 != "(" }) }
}

/// Ways in which an engine that has started does away with the endpoints of containers that it does not run any more.
enum StaleEndpoints: String, CaseIterable, Sendable {
    /// It calls Leave, DeleteEndpoint and ReleaseAddress.
    case deleted
    /// The driver is not loaded yet, so ReleaseAddress alone is called (libnetwork's `Endpoint.Delete` by force).
    case released
    /// No call reaches the daemon.
    case forgotten
}
