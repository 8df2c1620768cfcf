import OverlayDatapath
import OverlayModel

/// Outbox of a node: the effects of a turn in their order, the numbers of those whose end is waited for, the journal of durable writes,
/// and the timers. It is the one part that every other part is lent.
struct Outbox: Sendable {
    /// Pause before rows that the store refused are tried again, should nothing else be stored before.
    static let storeRetry = Interval.seconds(1)

    /// Time of the event that is being handled.
    private(set) var now = Instant(nanoseconds: 0)
    private(set) var journal: WriteJournal
    var timers = Deadlines<NodeTimer>()
    /// Effects of the turn.
    private var effects: [NodeEffect] = []
    /// Effects of all turns of the event, as they leave the node.
    private var delivered: [NodeEffect] = []
    private var nextEffect: UInt64 = 1
    private var ledger = StoreLedger()
    /// The last unfinished effect of an object.
    private var inFlight: [ObjectKey: EffectID] = [:]
    private var objectsOfEffect: [EffectID: [ObjectKey]] = [:]
    /// Last refusal of the kernel and of the disk, for `status`; nil once they took something again.
    private(set) var lastKernelFailure: String?
    private(set) var lastStoreFailure: String?

    init(journal: WriteJournal) { self.journal = journal }

    // MARK: Turns

    mutating func begin(at now: Instant) { self.now = now }

    /// Returns the effects so far, and forgets them.
    mutating func take() -> [NodeEffect] {
        defer { effects = [] }
        return effects
    }

    mutating func deliver(_ effect: NodeEffect) { delivered.append(effect) }

    /// Returns the effects of the event in the order in which they are to be carried out, and forgets them.
    ///
    /// Answers to the engine come first, so that it goes on while the rest is done; then names, before a sandbox that asks for them is
    /// served; then everything else, as it came.
    mutating func takeDelivered() -> [NodeEffect] {
        defer { delivered = [] }
        guard delivered.contains(where: { $0.phase != .rest }) else { return delivered }
        let names = delivered.filter { $0.phase == .names }
        return delivered.filter { $0.phase == .answer } + names + (names.isEmpty ? [] : [.publishNames])
            + delivered.filter { $0.phase == .rest }
    }

    // MARK: Effects

    mutating func append(_ effect: NodeEffect) { effects.append(effect) }

    /// Puts effects before all others of the turn.
    mutating func prepend(_ first: [NodeEffect]) { effects.insert(contentsOf: first, at: 0) }

    /// Sends a message. Its path is chosen when the turn is over.
    mutating func send(_ kind: Node.MessageKind, _ bytes: [UInt8], to peer: NodeID) {
        effects.append(.send(peer, [kind.rawValue] + bytes, .datagram))
    }

    /// - Parameter message: A constant: what varies is metadata, with keys of ``LogKey``.
    mutating func log(_ level: LogLevel, _ message: String, _ metadata: [String: String] = [:]) {
        effects.append(.log(level, message, metadata))
    }

    mutating func newEffect(for objects: [ObjectKey] = []) -> EffectID {
        let id = EffectID(value: nextEffect)
        nextEffect += 1
        for object in objects { inFlight[object] = id }
        if !objects.isEmpty { objectsOfEffect[id] = objects }
        return id
    }

    /// Applies operations to the kernel; nil where there is none.
    @discardableResult
    mutating func apply(_ operations: [KernelOperation], for objects: [ObjectKey] = []) -> EffectID? {
        guard !operations.isEmpty else { return nil }
        let id = newEffect(for: objects)
        effects.append(.apply(id, operations))
        return id
    }

    /// Makes rows durable in one transaction.
    ///
    /// - Parameter isProposal: True if the rows are the catalogue writer's: what is refused of these has never been.
    @discardableResult
    mutating func store(_ writes: [StoreWrite], for objects: [ObjectKey] = [], isProposal: Bool = false) -> EffectID {
        let id = newEffect(for: objects)
        give(ledger.submit(.init(id: id, rows: journal.number(writes, of: id), isProposal: isProposal)))
        return id
    }

    private mutating func give(_ submissions: [StoreLedger.Submission]) {
        for submission in submissions { effects.append(.store(submission.id, submission.rows)) }
    }

    /// True if the store has all that it was given, or has it under way.
    var storeIsWhole: Bool { ledger.isWhole }

    // MARK: Ends of effects

    mutating func stored(_ id: EffectID, _ outcome: StoreOutcome) {
        give(ledger.ended(id, isStored: outcome == .stored))
        if ledger.isWhole { timers.clear(.store) } else if timers[.store] == nil { timers.set(.store, at: now + Self.storeRetry) }
        switch outcome {
        case .stored:
            if ledger.isWhole, lastStoreFailure != nil {
                lastStoreFailure = nil
                log(.info, "state is written again")
            }
        case .failed(let reason):
            // It goes on failing alike, once a second.
            if lastStoreFailure != reason { log(.error, "state could not be written", [LogKey.reason: reason]) }
            lastStoreFailure = reason
        }
        journal.ended(id, isStored: outcome == .stored)
    }

    /// Gives the store what it refused once more.
    mutating func retryStore() {
        timers.set(.store, at: now + Self.storeRetry)
        if ledger.isIdle { store([]) }
    }

    mutating func applied(_ outcome: KernelOutcome) {
        switch outcome {
        case .applied: lastKernelFailure = nil
        case .failed(_, let failure):
            lastKernelFailure = failure.description
            log(
                .error, "kernel refused an operation",
                [LogKey.operation: failure.operation, LogKey.reason: failure.reason])
        }
    }

    mutating func notObserved(_ reason: String) {
        lastKernelFailure = reason
        log(.error, "kernel state could not be read", [LogKey.reason: reason])
    }

    /// Takes note that an effect has ended.
    mutating func ended(_ id: EffectID) {
        for object in objectsOfEffect.removeValue(forKey: id) ?? [] where inFlight[object] == id { inFlight[object] = nil }
    }

    /// The unfinished effects of objects, to be waited for by a call that finds them done already.
    func unfinished(_ objects: ObjectKey...) -> Set<EffectID> { Set(objects.compactMap { inFlight[$0] }) }

    /// True if a lease of the subnet in a range is being written or deleted.
    func isBusy(_ subnet: SubnetID, _ range: AddressRange) -> Bool {
        inFlight.keys.contains { object in
            if case .lease(subnet, let address) = object { range.contains(address) } else { false }
        }
    }

    // MARK: The journal

    /// Peers have said what they heard of this node, or none is there: changes are announced from now on.
    mutating func assure() {
        journal.assure()
        timers.clear(.assure)
    }

    mutating func raiseWrites(to seen: UInt64) { journal.raise(to: seen) }
}

/// Phases in which the effects of one event are carried out.
private enum Phase {
    case answer, names, rest
}

extension NodeEffect {
    fileprivate var phase: Phase {
        switch self {
        case .respond: .answer
        case .names, .subnets, .otherNames, .unsettled, .suspects: .names
        default: .rest
        }
    }
}
