import OverlayModel

/// Comparison of what this host holds for its engine with what the engine has: what it was asked, what it said, and since when
/// something seems to be left over.
///
/// A leftover is found missing in two looks, some seconds apart, over one connection. A look is a set of questions, and is
/// judged when all are answered: each thing by the answer of its own network. What was changed after the look began is not judged by it,
/// nor what a call of the engine concerns that is open.
struct Reconciliation: Sendable {
    /// Pause between looks, while nothing seems to be left over.
    static let period = Interval.seconds(60)
    /// Least time between the two looks.
    static let pause = Interval.seconds(5)
    /// Time until a look that could not be had is tried again.
    static let retry = Interval.seconds(1)
    /// Time from the engine's last call about a thing until it may be missing: engines write what they made after the plugin's answer.
    /// An endpoint that was joined had been written before.
    static let grace = Interval.seconds(30)
    /// Time after which a release of what was given up is not to be expected any more. Engines repeat a call for 15 s.
    static let lateness = Interval.seconds(60)

    /// Thing that the engine may not have any more.
    enum Subject: Hashable, Sendable {
        case endpoint(EndpointID)
        /// Lease that no endpoint has.
        case lease(SubnetID, IPAddress)
        /// Subnet without a network.
        case subnet(SubnetID)
        /// Network that the engine never named, or that it named and does not have any more though endpoints are on it.
        case network(EngineNetworkID)
    }

    enum Verdict: Hashable, Sendable {
        /// The engine has it, or nothing can be said yet.
        case kept
        /// The engine does not have it; it is asked again.
        case suspected
        /// The engine does not have it, twice.
        case left
    }

    /// Endpoints of one network as the engine has them.
    struct Shown: Sendable {
        var endpoints: Set<EndpointID>
        var addresses: Set<IPAddress>
    }

    /// Question of a look.
    private enum Question: Sendable {
        case network(EngineNetworkID)
        case networks
        case endpoints
        case sandbox(EndpointID)
    }

    /// Answers of a look.
    private struct Look: Sendable {
        let began: Instant
        var open: [EffectID: Question] = [:]
        var networks: [EngineNetworkID: Shown] = [:]
        /// Networks that the engine says it does not have.
        var missing: Set<EngineNetworkID> = []
        /// Subnets and ids of all networks of this driver.
        var list: (prefixes: Set<IPPrefix>, ids: Set<EngineNetworkID>)?
        /// Endpoints of running containers.
        var running: Set<EndpointID>?
        /// Endpoints whose sandbox exists.
        var housed: Set<EndpointID> = []
    }

    private var look: Look?
    /// Times of the last calls about things, the last ones.
    private var touched: [Subject: Instant] = [:]
    /// Times of the looks that found things missing first.
    private var suspects: [Subject: Instant] = [:]
    /// Time of the first look of this process: nothing is known of what was before.
    private var began: Instant?
    /// Time from which something that is missing, and was changed a moment ago, may be judged.
    private var due: Instant?
    /// Addresses that were given up: the engine may yet release them.
    private var givenUp: [Subject: Instant] = [:]
    /// Reasons why networks could not be looked at, the last ones.
    private(set) var failures: [EngineNetworkID: String] = [:]
    /// Networks that the engine does not have, with endpoints whose sandboxes exist.
    private(set) var strays: [EngineNetworkID: Set<EndpointID>] = [:]
    var missed: MissedStarts

    init(startsMissed: Bool = false) { missed = MissedStarts(starts: startsMissed) }

    // MARK: Calls of the engine

    /// A call of the engine concerns the thing.
    mutating func touch(_ subject: Subject, at now: Instant) {
        touched[subject] = now
        suspects[subject] = nil
    }

    /// The address of an endpoint was given up, and its release did not come.
    mutating func setGivenUp(_ subject: Subject, at now: Instant) { givenUp[subject] = now }

    /// True if a release may mean an endpoint that was given up, and not the one that has the address by now. One release is told so.
    mutating func takeLateRelease(of subject: Subject, at now: Instant) -> Bool {
        guard let at = givenUp.removeValue(forKey: subject) else { return false }
        return now - at < Self.lateness
    }

    // MARK: The link

    /// The link came up, or went down: what was asked before counts for nothing.
    mutating func forget() {
        look = nil
        suspects = [:]
        failures = [:]
        strays = [:]
    }

    // MARK: Looks

    var isLooking: Bool { look != nil }
    var hasSuspects: Bool { !suspects.isEmpty }

    mutating func begin(at now: Instant) {
        if began == nil { began = now }
        look = Look(began: now)
        due = nil
        touched = touched.filter { now - $0.value < Self.grace }
        givenUp = givenUp.filter { now - $0.value < Self.lateness }
    }

    mutating func ask(_ id: EngineNetworkID, by effect: EffectID) { look?.open[effect] = .network(id) }
    mutating func askNetworks(by effect: EffectID) { look?.open[effect] = .networks }
    mutating func askEndpoints(by effect: EffectID) { look?.open[effect] = .endpoints }
    mutating func askSandbox(of endpoint: EndpointID, by effect: EffectID) { look?.open[effect] = .sandbox(endpoint) }

    /// Takes an answer about a network.
    ///
    /// - Parameter shown: nil where the engine did not say which endpoints it has there.
    /// - Returns: False where it was not asked by the look under way.
    mutating func answered(_ effect: EffectID, _ shown: Shown?, else reason: String) -> Bool {
        guard case .network(let id)? = look?.open.removeValue(forKey: effect) else { return false }
        look?.networks[id] = shown
        failures[id] = shown == nil ? reason : nil
        if shown == nil, let next = look.map({ $0.began + Self.pause }) { due = min(due ?? next, next) }
        return true
    }

    /// Takes the answer that there is no such network.
    mutating func answeredMissing(_ effect: EffectID) -> EngineNetworkID? {
        guard case .network(let id)? = look?.open.removeValue(forKey: effect) else { return nil }
        look?.missing.insert(id)
        failures[id] = nil
        return id
    }

    mutating func answered(_ effect: EffectID, networks: (prefixes: Set<IPPrefix>, ids: Set<EngineNetworkID>)?) -> Bool {
        guard case .networks? = look?.open.removeValue(forKey: effect) else { return false }
        look?.list = networks
        return true
    }

    mutating func answered(_ effect: EffectID, running: Set<EndpointID>?) -> Bool {
        guard case .endpoints? = look?.open.removeValue(forKey: effect) else { return false }
        look?.running = running
        return true
    }

    mutating func answered(_ effect: EffectID, isHoused: Bool) -> Bool {
        guard case .sandbox(let endpoint)? = look?.open.removeValue(forKey: effect) else { return false }
        if isHoused { look?.housed.insert(endpoint) }
        return true
    }

    /// True if the question is one of the look under way. Its answer may be of any kind.
    func isAsked(by effect: EffectID) -> Bool { look?.open[effect] != nil }
    /// True if all questions of the look are answered.
    var isAnswered: Bool { look?.open.isEmpty ?? false }

    // MARK: Answers

    func shown(_ id: EngineNetworkID) -> Shown? { look?.networks[id] }
    func isMissing(_ id: EngineNetworkID) -> Bool { look?.missing.contains(id) ?? false }
    /// Networks that the engine lists, by their subnets and ids; nil where it was not asked, or did not say.
    var list: (prefixes: Set<IPPrefix>, ids: Set<EngineNetworkID>)? { look?.list }
    func isHoused(_ endpoint: EndpointID) -> Bool { look?.housed.contains(endpoint) ?? false }

    mutating func setStrays(_ endpoints: Set<EndpointID>, of id: EngineNetworkID) {
        strays[id] = endpoints.isEmpty ? nil : endpoints
    }

    mutating func keepOnly(where isHere: (EngineNetworkID) -> Bool) {
        failures = failures.filter { isHere($0.key) }
        strays = strays.filter { isHere($0.key) }
    }

    // MARK: Verdicts

    /// Judges a thing by the look.
    ///
    /// - Parameters:
    ///   - isHeld: True if the engine has it.
    ///   - isBusy: True if a call of the engine concerns it, or it is being written.
    ///   - isWritten: True if the engine has written it before its last call.
    mutating func judge(_ subject: Subject, isHeld: Bool, isBusy: Bool, isWritten: Bool = false) -> Verdict {
        guard let look, let began else { return .kept }
        let last = touched[subject] ?? began
        let isRecent = isWritten ? last > look.began : look.began - last < Self.grace
        var isRunning = false
        if case .endpoint(let id) = subject { isRunning = look.running?.contains(id) ?? false }
        guard !isHeld, !isRunning, !isBusy, !isRecent else {
            suspects[subject] = nil
            if !isHeld, !isRunning {
                let next = isBusy || isWritten ? look.began + Self.pause : last + Self.grace
                due = min(due ?? next, next)
            }
            return .kept
        }
        guard let since = suspects[subject] else {
            suspects[subject] = look.began
            return .suspected
        }
        // Containers were asked, too, as something was missing.
        guard look.began - since >= Self.pause, look.running != nil else { return .suspected }
        suspects[subject] = nil
        touched[subject] = nil
        return .left
    }

    /// Ends the look.
    ///
    /// - Parameter isHere: True for things that this host still has.
    /// - Returns: Time of the next one.
    mutating func end(at now: Instant, isWhole: Bool, isHere: (Subject) -> Bool) -> Instant {
        look = nil
        suspects = suspects.filter { isHere($0.key) }
        let times = [suspects.values.min().map { $0 + Self.pause }, due, isWhole ? nil : now].compactMap { $0 }
        return times.min().map { max($0, now + Self.retry) } ?? now + Self.period
    }
}
