import OverlayDriver
import OverlayModel

/// The engine's own API as this node knows it, and the way of networks between it and the cluster. Nothing that the engine waits
/// for ever waits for this.
struct Mirror: Sendable {
    static let retryPause = Interval.seconds(1)
    /// Time from CreateNetwork to a network that no engine exceeds.
    static let creationTime = Interval.seconds(60)
    static let longestPause = Interval.seconds(60)
    static let delay = Interval.milliseconds(1)
    /// Time from a create on this engine to the next one of the same project, and the longest for which networks of others wait for it:
    /// this may be the same project, and its next create is refused where the network is there already.
    static let creationPause = Interval.seconds(1)
    static let longestDeferral = Interval.seconds(3)
    /// Time that a container may take from its end to its next start. An engine does not start one whose network is gone.
    static let restartTime = Interval.seconds(10)

    enum State: Sendable {
        /// There is no link (`--engine none`).
        case none
        case away(String, since: Instant)
        case connected(apiVersion: String, since: Instant)
    }

    /// Why a network is not made, removed or described, and when it is tried again.
    struct Failure: Sendable {
        var reason: String
        var pause: Interval
        var until: Instant
    }

    /// True if networks of others are made on this engine. Not so in Swarm, which does that itself.
    let mirrors: Bool
    private(set) var state = State.none
    /// True once the engine has told of all networks since it was connected.
    private(set) var isComplete = false
    /// Our networks of the engine, as it shows them.
    private(set) var networks: [EngineNetworkID: EngineNetwork] = [:]
    /// Calls that are on their way.
    private var calls: [EffectID: EngineAPICall] = [:]
    /// Calls to be made again after their answer, as something has changed since they were made.
    private var again: Set<EngineAPICall> = []
    /// Questions that were not answered.
    private var unanswered: Set<EngineAPICall> = []
    /// Networks that are being made here because they are elsewhere.
    private var making: [EffectID: NetworkID] = [:]
    /// Requests of the command line that wait for a call.
    private var waiting: [EffectID: RequestID] = [:]
    /// Networks that were known when all were asked for: only one of those can be missing.
    private var asked: Set<EngineNetworkID> = []
    /// Times since which the engine has not told of a network, though it was asked for all: it is making it, or was killed when it
    /// did.
    private var missing: [EngineNetworkID: Instant] = [:]
    /// Times until which a container that was on a network may come back to it.
    private var keptUntil: [EngineNetworkID: Instant] = [:]
    private(set) var failures: [NetworkID: Failure] = [:]
    /// Networks of this driver, by name, that this node does not know: they are of a cluster that it has left.
    private var stale: [String: EngineNetworkID] = [:]
    /// Networks of the engine that this node made, the last ones.
    private var madeHere: [EngineNetworkID] = []
    /// Time at which a user last made a network on this engine, and times since which networks of others wait for that to be over.
    private var userCreatedAt: Instant?
    private var deferred: [NetworkID: Instant] = [:]
    /// Networks that stand for one of other subnets, while it is asked whether a container names them.
    private var maybeIdle: Set<EngineNetworkID> = []
    /// Containers of endpoints that were inspected.
    private var inspected: [EndpointID: ContainerID] = [:]
    /// Ids of networks of ours that the engine removed, the last ones. Containers that do not run may name them still.
    private var former: [EngineNetworkID] = []
    private static let formerLimit = 256
    /// Nodes that asked whether containers of this engine have a network in their configuration.
    private var askers: [NetworkID: Set<NodeID>] = [:]
    /// Containers whose configuration names networks by ids that they had before they were made anew, with their present ids by name.
    private var outdated: [ContainerID: [String: EngineNetworkID]] = [:]
    /// Watch over containers that the engine gave up during a prune.
    var restarts = RestartWatch()
    /// Networks of this engine whose name another network of the cluster has, and what the catalogue said.
    private(set) var conflicts: [EngineNetworkID: String] = [:]

    init(mirrors: Bool) { self.mirrors = mirrors }

    /// True if there is an engine to be asked, now or later.
    var hasLink: Bool { if case .none = state { false } else { true } }

    var isConnected: Bool { if case .connected = state { true } else { false } }

    /// The node left its cluster.
    mutating func forget() {
        for (id, network) in networks { stale[network.name] = id }
        networks = [:]
        inspected = [:]
        askers = [:]
        outdated = [:]
        failures = [:]
        conflicts = [:]
        making = [:]
        missing = [:]
        keptUntil = [:]
        deferred = [:]
        maybeIdle = []
    }

    // MARK: Calls

    /// Calls the engine.
    ///
    /// - Parameter known: This host's networks.
    /// - Returns: nil where the same call is on its way, or there is no link.
    @discardableResult
    mutating func ask(_ call: EngineAPICall, known: Set<EngineNetworkID>, into outbox: inout Outbox) -> EffectID? {
        guard isConnected else { return nil }
        guard !calls.values.contains(call) else {
            // The answer under way may be older than what caused this call.
            again.insert(call)
            return nil
        }
        let id = outbox.newEffect()
        calls[id] = call
        if call == .networks { asked = known }
        outbox.append(.engineCall(id, call))
        return id
    }

    func isAsking(_ call: EngineAPICall) -> Bool { calls.values.contains(call) }

    /// A call was answered.
    ///
    /// - Returns: The call, and whether it is to be made again.
    mutating func answered(_ id: EffectID) -> (call: EngineAPICall, again: Bool)? {
        guard let call = calls.removeValue(forKey: id) else { return nil }
        return (call, again.remove(call) != nil)
    }

    /// Records that a call was not answered. A question is asked again later; failed actions are retried by the comparison of
    /// networks.
    mutating func notAnswered(_ call: EngineAPICall, _ reason: String, into outbox: inout Outbox) {
        guard isConnected else { return }
        switch call {
        // Leftovers are looked for again soon.
        case .createNetwork, .removeNetwork, .lastStart, .start, .endpoints: return
        // All that follows from the configurations is found out anew.
        case .configured, .interfaces, .connect: return askLater(.configured, in: Self.retryPause, into: &outbox)
        case .networks, .otherNetworks, .addressPools, .containers, .containersOn, .network, .container: break
        }
        outbox.log(.warning, "the engine did not answer, and is asked again", [LogKey.reason: reason])
        askLater(call, in: Self.retryPause, into: &outbox)
    }

    private mutating func askLater(_ call: EngineAPICall, in pause: Interval, into outbox: inout Outbox) {
        unanswered.insert(call)
        outbox.timers.set(.askEngine, noLaterThan: outbox.now + pause)
    }

    mutating func takeUnanswered() -> Set<EngineAPICall> {
        defer { unanswered = [] }
        return unanswered
    }

    // MARK: The link

    mutating func connected(_ version: String, into outbox: inout Outbox) {
        outbox.log(.info, "the engine answers", [LogKey.api: version])
        state = .connected(apiVersion: version, since: outbox.now)
        isComplete = false
        // The shell answers the calls of the earlier connection; what they asked for is asked anew.
        again = []
        unanswered = []
        outbox.timers.clear(.askEngine)
    }

    mutating func disconnected(_ reason: String, into outbox: inout Outbox) {
        if case .away(let known, _) = state, known == reason { return }
        outbox.log(.warning, "the engine's API is away; names and networks of others wait for it", [LogKey.reason: reason])
        state = .away(reason, since: outbox.now)
        isComplete = false
    }

    // MARK: Containers

    func isInspected(_ endpoint: EndpointID) -> Bool { inspected[endpoint] != nil }
    func isInspected(_ container: ContainerID) -> Bool { inspected.values.contains(container) }
    mutating func inspected(_ endpoint: EndpointID, of container: ContainerID) { inspected[endpoint] = container }
    mutating func forget(_ endpoint: EndpointID) { inspected[endpoint] = nil }

    // MARK: Configurations

    mutating func ask(about network: NetworkID, for peer: NodeID) { askers[network, default: []].insert(peer) }

    mutating func setFormer(_ id: EngineNetworkID) {
        guard !former.contains(id) else { return }
        if former.count >= Self.formerLimit { former.removeFirst() }
        former.append(id)
    }

    var hasFormer: Bool { !former.isEmpty }
    func isFormer(_ id: EngineNetworkID) -> Bool { former.contains(id) }

    mutating func takeAskers() -> [NetworkID: Set<NodeID>] {
        defer { askers = [:] }
        return askers
    }

    /// Records that a container names a network by an id that it had before.
    mutating func setOutdated(_ container: ContainerID, _ name: String, now id: EngineNetworkID) {
        outdated[container, default: [:]][name] = id
    }

    mutating func takeOutdated(_ container: ContainerID) -> [String: EngineNetworkID] {
        outdated.removeValue(forKey: container) ?? [:]
    }

    // MARK: The engine's networks

    mutating func beginList() {
        networks = [:]
        stale = [:]
    }

    mutating func show(_ network: EngineNetwork, as id: EngineNetworkID) { networks[id] = network }
    mutating func hide(_ id: EngineNetworkID) { networks[id] = nil }
    mutating func setStale(_ id: EngineNetworkID, _ name: String) { stale[name] = id }
    func stale(_ name: String) -> EngineNetworkID? { stale[name] }

    /// All networks were told.
    ///
    /// - Parameter known: This host's networks.
    mutating func endList(known: Set<EngineNetworkID>) {
        isComplete = true
        // A network that was made during the call may not be on the list.
        missing = missing.filter { known.contains($0.key) && networks[$0.key] == nil }
    }

    /// True if the engine has not told of a network though it was asked for all: it was removed while nobody was told, or with the
    /// engine's state. It may come again; so it counts as gone only when the engine had named it, or after a time.
    mutating func isGone(_ id: EngineNetworkID, isNamed: Bool, now: Instant) -> Bool {
        guard networks[id] == nil, asked.contains(id) else { return false }
        let since = missing[id] ?? now
        missing[id] = since
        guard isNamed || now - since >= Self.creationTime else { return false }
        missing[id] = nil
        return true
    }

    mutating func watchMissing(into outbox: inout Outbox) {
        if !missing.isEmpty { askLater(.networks, in: Self.creationTime, into: &outbox) }
    }

    /// The engine has no such network any more.
    mutating func dropped(_ id: EngineNetworkID, now: Instant) {
        networks[id] = nil
        conflicts[id] = nil
        madeHere.removeAll { $0 == id }
        stale = stale.filter { $0.value != id }
        // A name may be free now.
        for network in failures.keys { failures[network]?.until = now }
    }

    // MARK: Making and removing

    mutating func make(_ network: NetworkID, by effect: EffectID) { making[effect] = network }
    func isMaking(_ network: NetworkID) -> Bool { making.values.contains(network) }
    /// Networks that are being made.
    var beingMade: some Collection<NetworkID> { making.values }
    mutating func takeMade(_ effect: EffectID) -> NetworkID? { making.removeValue(forKey: effect) }

    mutating func setMadeHere(_ id: EngineNetworkID) {
        if madeHere.count >= Self.formerLimit { madeHere.removeFirst() }
        madeHere.append(id)
    }

    /// True if this node made a network of the engine, not long ago.
    func isMadeHere(_ id: EngineNetworkID) -> Bool { madeHere.contains(id) }

    mutating func userCreates(at now: Instant) { userCreatedAt = now }

    /// Time until which a network of others is not made here, as a user makes networks on this engine; nil where it is to be made now.
    mutating func wait(toMake network: NetworkID, at now: Instant) -> Instant? {
        let since = deferred[network] ?? now
        let quiet = userCreatedAt.map { $0 + Self.creationPause } ?? now
        let end = min(quiet, since + Self.longestDeferral)
        deferred[network] = end > now ? since : nil
        return end > now ? end : nil
    }

    // MARK: Networks that stand for another

    /// Keeps a network of the engine for a while, though nothing is on it.
    mutating func keep(_ id: EngineNetworkID, for time: Interval, into outbox: inout Outbox) {
        keptUntil[id] = outbox.now + time
        outbox.timers.set(.mirror, noLaterThan: outbox.now + time)
    }

    mutating func askIdle(_ id: EngineNetworkID) { maybeIdle.insert(id) }
    mutating func takeMaybeIdle() -> Set<EngineNetworkID> {
        defer { maybeIdle = [] }
        return maybeIdle
    }

    mutating func wait(_ request: RequestID, for effect: EffectID) { waiting[effect] = request }
    mutating func takeWaiting(_ effect: EffectID) -> RequestID? { waiting.removeValue(forKey: effect) }
    /// True if a command of `swift-overlay` is removing the network, which is no prune.
    func isCommanded(_ id: EngineNetworkID) -> Bool { calls.contains { $0.value == .removeNetwork(id) && waiting[$0.key] != nil } }

    /// True if this node itself is removing the network; the command line's removals are a user's.
    func isRemoving(_ id: EngineNetworkID) -> Bool { calls.contains { $0.value == .removeNetwork(id) && waiting[$0.key] == nil } }

    mutating func setConflict(_ reason: String?, of id: EngineNetworkID) { conflicts[id] = reason }

    func isKept(_ id: EngineNetworkID, at now: Instant) -> Bool { (keptUntil[id] ?? now) > now }

    // MARK: Failures and pauses

    func isPaused(_ network: NetworkID, at now: Instant) -> Bool { failures[network].map { $0.until > now } ?? false }

    mutating func clearFailure(of network: NetworkID) { failures[network] = nil }

    /// Forgets failures of networks that wait for nothing.
    mutating func keepFailures(where isWaiting: (NetworkID) -> Bool) {
        failures = failures.filter { isWaiting($0.key) }
        deferred = deferred.filter { isWaiting($0.key) }
    }

    mutating func fail(_ network: NetworkID, _ title: String, _ reason: String, into outbox: inout Outbox) {
        let old = failures[network]
        let pause = old.map { min($0.pause + $0.pause, Self.longestPause) } ?? Self.retryPause
        if old?.reason != reason { outbox.log(.warning, "a network waits", [LogKey.network: title, LogKey.reason: reason]) }
        failures[network] = Failure(reason: reason, pause: pause, until: outbox.now + pause)
        outbox.timers.set(.mirror, noLaterThan: outbox.now + pause)
    }

    // MARK: When networks are compared

    func compareSoon(into outbox: inout Outbox) {
        guard isConnected else { return }
        outbox.timers.set(.mirror, noLaterThan: outbox.now + Self.delay)
    }

    /// An endpoint of the network is gone: what waited for that may go on, unless its container only starts anew.
    mutating func compareAfterRestart(of id: EngineNetworkID, _ network: NetworkID?, isRemoved: Bool, into outbox: inout Outbox) {
        guard isConnected, isRemoved || conflicts[id] != nil else { return }
        if let network { failures[network] = nil }
        keptUntil[id] = outbox.now + Self.restartTime
        outbox.timers.set(.mirror, noLaterThan: outbox.now + Self.restartTime)
    }

    /// Networks are compared again when the first pause ends.
    ///
    /// - Parameter known: This host's networks.
    mutating func schedule(known: Set<EngineNetworkID>, into outbox: inout Outbox) {
        keptUntil = keptUntil.filter { known.contains($0.key) && $0.value > outbox.now }
        let pauses = (failures.values.map(\.until) + keptUntil.values).filter { $0 > outbox.now }
        if let next = pauses.min() { outbox.timers.set(.mirror, noLaterThan: next) }
    }

    var report: EngineLinkReport {
        switch state {
        case .none: EngineLinkReport(state: "none", apiVersion: nil, reason: nil)
        case .away(let reason, _): EngineLinkReport(state: "away", apiVersion: nil, reason: reason)
        case .connected(let version, _): EngineLinkReport(state: "connected", apiVersion: version, reason: nil)
        }
    }
}
