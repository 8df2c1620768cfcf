import OverlayDriver
import OverlayModel

/// Subnets around the overlay networks: what this host has routes for, and the engine's networks of other drivers, docker_gwbridge
/// among them.
struct Surroundings: Sendable {
    /// Pause between looks at the host's routes, and before one that something asks for.
    static let period = Interval.seconds(10)
    static let delay = Interval.milliseconds(200)
    /// Pause after a reading that was cut off: such a host has very many routes, and they cost time to read.
    static let longPeriod = Interval.seconds(300)
    /// Time that a change must last before others are told of it. Compose projects make networks all the time, and each change is an
    /// entry of the catalogue; so others are told of few changes in a while. A route that is gone is told soon where that is possible:
    /// others refuse its subnet as long as they know of it.
    static let settling = Interval.seconds(1)
    static let announcements = 4
    static let announcePeriod = Interval.seconds(120)
    /// Time after the end of docker_gwbridge in which only a user makes it, by hand with a subnet of choice.
    static let gatewayPause = Interval.seconds(60)
    static let gatewayRetry = Interval.seconds(60)

    /// Routes of the host.
    private(set) var routes: [HostSubnet]
    /// The engine's networks of other drivers that have subnets, by name; nil until the engine has told.
    private(set) var networks: [EngineNetwork]?
    /// Subnets that other nodes know of.
    private(set) var announced: [IPPrefix]
    /// Times at which they were told, the last ones.
    private var announcedAt: [Instant] = []
    /// The reading of routes under way.
    private var reading: EffectID?
    /// Pools that the engine takes the subnets of its own networks from; nil until it has told.
    private(set) var pools: [EngineAddressPool]?
    /// The call that makes docker_gwbridge, and the subnet that it is to have.
    private var making: (id: EffectID, subnet: IPPrefix)?
    /// Subnets that the engine refused for docker_gwbridge.
    private(set) var refused: Set<IPPrefix> = []
    private var gatewayAt: Instant?
    var own = OwnAddresses()

    init(routes: [IPPrefix]) {
        self.routes = routes.map { HostSubnet(prefix: $0, link: "") }
        announced = []
        announced = current
    }

    // MARK: Routes

    /// Reads the routes, unless that is under way.
    mutating func read(into outbox: inout Outbox) {
        outbox.timers.set(.surroundings, at: outbox.now + Self.period)
        guard reading == nil else { return }
        let id = outbox.newEffect()
        reading = id
        outbox.append(.readRoutes(id))
    }

    func readSoon(into outbox: inout Outbox) { outbox.timers.set(.surroundings, noLaterThan: outbox.now + Self.delay) }

    /// Routes were read.
    ///
    /// - Parameters:
    ///   - routes: nil where they could not be read; the last ones stand then.
    ///   - isWhole: False where there were more than are read.
    mutating func wereRead(_ id: EffectID, _ routes: [HostSubnet]?, isWhole: Bool, into outbox: inout Outbox) {
        guard reading == id else { return }
        reading = nil
        guard let routes else { return }
        self.routes = routes
        if !isWhole { outbox.timers.set(.surroundings, at: outbox.now + Self.longPeriod) }
    }

    // MARK: Networks of the engine

    /// The engine was connected: what it told before may have changed meanwhile.
    mutating func connected() {
        networks = nil
        pools = nil
        making = nil
        refused = []
        gatewayAt = nil
    }

    /// The engine told of its networks of other drivers.
    mutating func setNetworks(_ all: [EngineNetwork], into outbox: inout Outbox) {
        let had = gateway != nil
        networks = all.filter { !$0.subnets.isEmpty }.sorted { ($0.name, $0.id?.text ?? "") < ($1.name, $1.id?.text ?? "") }
        if had, gateway == nil { gatewayAt = outbox.now + Self.gatewayPause }
        if let gatewayAt { outbox.timers.set(.surroundings, noLaterThan: gatewayAt) }
    }

    // MARK: docker_gwbridge

    /// The engine's network by which containers on overlay networks reach the outside (libnetwork's `libnGWNetwork`).
    var gateway: EngineNetwork? { networks?.first { $0.name == EngineNetwork.gatewayName } }

    /// True if the engine has no docker_gwbridge, and it is time to make it.
    func lacksGateway(at now: Instant) -> Bool {
        networks != nil && gateway == nil && making == nil && (gatewayAt ?? now) <= now
    }

    mutating func setPools(_ pools: [EngineAddressPool]) { self.pools = pools.isEmpty ? EngineAddressPool.builtIn : pools }

    mutating func makeGateway(of subnet: IPPrefix, by id: EffectID) { making = (id, subnet) }

    /// The call that makes docker_gwbridge has ended.
    ///
    /// - Parameter refusal: Reason of the engine, where it refused the call.
    /// - Returns: False where the call was another one.
    mutating func gatewayEnded(_ id: EffectID, refusal: String? = nil, into outbox: inout Outbox) -> Bool {
        guard let made = making, made.id == id else { return false }
        making = nil
        // Tried again later, unless the engine has made it by then.
        gatewayAt = outbox.now + Self.gatewayRetry
        guard let refusal else { return true }
        refused.insert(made.subnet)
        outbox.log(.info, "the engine does not make docker_gwbridge", [LogKey.subnet: "\(made.subnet)", LogKey.reason: refusal])
        return true
    }

    // MARK: What others are told

    /// Subnets that no overlay network should have: of routes, and of networks.
    var current: [IPPrefix] {
        let all = routes.map(\.prefix) + (networks ?? []).flatMap { $0.subnets.map(\.subnet.network) }
        return Set(all).filter(Self.counts).sorted()
    }

    /// True if a route to the prefix may be an obstacle. One of half the Internet is a VPN's way to be the default route.
    static func counts(_ prefix: IPPrefix) -> Bool {
        guard prefix.isNetwork, prefix.length > 1 else { return false }
        let local = prefix.family == .v4 ? Self.localV4 : Self.localV6
        return !local.contains { $0.contains(prefix) }
    }

    /// Loopback, link-local and multicast addresses, which every host has (RFC 6890).
    private static let localV4 = ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4"].compactMap { IPPrefix($0) }
    private static let localV6 = ["::1/128", "fe80::/10", "ff00::/8"].compactMap { IPPrefix($0) }

    /// Sets the time at which others are told, where there is something new.
    func announceSoon(into outbox: inout Outbox) {
        guard current != announced else { return outbox.timers.clear(.announceRoutes) }
        guard outbox.timers[.announceRoutes] == nil else { return }
        let earliest = announcedAt.count < Self.announcements ? outbox.now : announcedAt[0] + Self.announcePeriod
        outbox.timers.set(.announceRoutes, at: max(outbox.now + Self.settling, earliest))
    }

    /// Others are told from now on what there is now.
    mutating func announce(at now: Instant) {
        announced = current
        if announcedAt.count >= Self.announcements { announcedAt.removeFirst() }
        announcedAt.append(now)
    }
}
