import OverlayModel

/// Calls that are open, and what each of them waits for.
struct Requests: Sendable {
    /// Budget of a call from its arrival. Engines themselves wait without end, and hold locks meanwhile.
    static let budget = Interval.seconds(8)
    static let limit = 10_000
    /// Rounds of a call before it is told that others change the same things at the same time.
    static let rounds = 8

    struct Open: Sendable {
        let call: Call
        let deadline: Instant
        fileprivate(set) var wait = Wait.none
        fileprivate(set) var rounds = 0
        /// Set if the call's claim of a block was refused.
        fileprivate(set) var scarcity: Scarcity?

        /// Part of the call that is undone if it fails now.
        var undo: Undo? { if case .effects(_, _, let undo) = wait { undo } else { nil } }
    }

    /// Reason why a call waits.
    enum Wait: Sendable {
        /// The outcome of a proposal, or of a conversation with another node.
        case none
        /// Ends of effects; then the reply is given.
        case effects(Set<EffectID>, Reply, undo: Undo?)
        /// Peers that say what they heard of this node.
        case assurance
        /// A subnet that is being given up.
        case closing(SubnetID)
        /// The decision whether endpoints are let on a network of the engine.
        case admission(EngineNetworkID)
        case addresses(AddressWait)
        /// The next change of a node's state.
        case nodeChange
        /// The engine's answer; then the reply is given.
        case engine(Reply)
    }

    private var open: [RequestID: Open] = [:]
    private var deadlines = Deadlines<RequestID>()
    /// Calls that wait for addresses. They are looked at every turn, and there are seldom any.
    private var addressWaiters: Set<RequestID> = []
    /// Calls that wait for a subnet that is being given up.
    private var closingWaiters: Set<RequestID> = []
    /// Calls that wait for an effect.
    private var effectWaiters: [EffectID: Set<RequestID>] = [:]

    subscript(id: RequestID) -> Open? { open[id] }
    var isFull: Bool { open.count > Self.limit }

    /// Time at which a call, or its wait for addresses, is to be looked at next.
    var nextDeadline: Instant? {
        guard let next = deadlines.next, !addressWaiters.isEmpty else { return deadlines.next }
        return addressWaits.lazy.map(\.wait.next).min().map { min($0, next) } ?? next
    }

    mutating func add(_ id: RequestID, _ call: Call, now: Instant) {
        open[id] = Open(call: call, deadline: now + Self.budget)
        deadlines.set(id, at: now + Self.budget)
    }

    /// - Returns: False where it is not open, or was answered already.
    mutating func remove(_ id: RequestID) -> Bool {
        wait(id, for: .none)
        deadlines.clear(id)
        return open.removeValue(forKey: id) != nil
    }

    /// Begins a round; whatever the call waited for has come. nil where it is not open.
    mutating func beginRound(_ id: RequestID) -> Open? {
        guard open[id] != nil else { return nil }
        open[id]?.rounds += 1
        wait(id, for: .none)
        return open[id]
    }

    /// Waiting for others is no endless loop as long as others move.
    mutating func resetRounds(_ id: RequestID) { open[id]?.rounds = 0 }

    mutating func wait(_ id: RequestID, for wait: Wait) {
        guard let old = open[id]?.wait else { return }
        switch old {
        case .effects(let awaited, _, _):
            for effect in awaited { removeWaiter(id, of: effect) }
        case .addresses: addressWaiters.remove(id)
        case .closing: closingWaiters.remove(id)
        default: break
        }
        switch wait {
        case .effects(let awaited, _, _):
            for effect in awaited { effectWaiters[effect, default: []].insert(id) }
        case .addresses: addressWaiters.insert(id)
        case .closing: closingWaiters.insert(id)
        default: break
        }
        open[id]?.wait = wait
    }

    private mutating func removeWaiter(_ id: RequestID, of effect: EffectID) {
        effectWaiters[effect]?.remove(id)
        if effectWaiters[effect]?.isEmpty == true { effectWaiters[effect] = nil }
    }

    mutating func setScarcity(_ scarcity: Scarcity, of id: RequestID) { open[id]?.scarcity = scarcity }

    // MARK: Waits

    /// Calls that are past their deadline, in the order in which they came.
    func due(at now: Instant) -> [RequestID] {
        guard let next = deadlines.next, next <= now else { return [] }
        return open.keys.filter { id in deadlines[id].map { $0 <= now } ?? false }.sorted { $0.value < $1.value }
    }

    /// Calls whose wait is like this, in the order in which they came.
    func waiting(where isMeant: (Wait) -> Bool) -> [RequestID] {
        open.compactMap { isMeant($0.value.wait) ? $0.key : nil }.sorted { $0.value < $1.value }
    }

    /// All calls, in the order in which they came.
    var all: [(key: RequestID, value: Open)] { open.sorted { $0.key.value < $1.key.value } }

    var waitForClosing: [RequestID] { closingWaiters.sorted { $0.value < $1.value } }

    func waitForClosing(of subnet: SubnetID) -> [RequestID] {
        waitForClosing.filter { if case .closing(subnet) = open[$0]?.wait { true } else { false } }
    }

    /// Waits for addresses, in the order in which the calls came.
    var addressWaits: [(id: RequestID, wait: AddressWait)] {
        addressWaiters.sorted { $0.value < $1.value }.compactMap { id in
            if case .addresses(let wait) = open[id]?.wait { (id, wait) } else { nil }
        }
    }

    /// Calls that wait for an effect that has ended, in the order in which they came.
    func waiting(for effect: EffectID) -> [(id: RequestID, undo: Undo?)] {
        (effectWaiters[effect] ?? []).sorted { $0.value < $1.value }.map { ($0, open[$0]?.undo) }
    }

    /// Sets the reply of a call that waits for effects.
    mutating func setReply(_ reply: Reply, of id: RequestID) {
        guard case .effects(let awaited, _, let undo) = open[id]?.wait else { return }
        open[id]?.wait = .effects(awaited, reply, undo: undo)
    }

    /// An effect that a call waits for was successful.
    ///
    /// - Returns: The reply, where it was the last one.
    mutating func ended(_ effect: EffectID, for id: RequestID) -> Reply? {
        guard case .effects(var awaited, let reply, let undo) = open[id]?.wait else { return nil }
        awaited.remove(effect)
        removeWaiter(id, of: effect)
        open[id]?.wait = .effects(awaited, reply, undo: undo)
        return awaited.isEmpty ? reply : nil
    }
}
