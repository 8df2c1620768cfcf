public import OverlayCatalogue
public import OverlayDNS
import OverlayDatapath
import OverlayDriver
import OverlayIPAM
public import OverlayMembership
public import OverlayModel
import OverlayReplication

/// Node core: one node as one value, made of parts that own their state. An event and the time go in, effects come out. The daemon
/// and the simulation drive the same one.
///
/// A call is worked on in rounds. A round answers, or waits for effects and answers when they have ended, or proposes a change of
/// the catalogue and starts over when that is decided. Each round reads the state afresh, so a repeated call finds what the first
/// one made, and is answered when that is durable.
public struct Node: Sendable {
    /// Identity, addresses and keys of this node.
    public internal(set) var identity: NodeIdentity
    let signing: any RecordSigning
    /// Safety rules in force. Only tests leave one out; the daemon runs with all.
    package var rules: SafetyRules {
        get { catalogueNode.rules }
        set { catalogueNode.rules = newValue }
    }
    var inventory: Inventory
    var addresses: Addresses
    var handovers: Handovers
    var closings: Closings
    var life: Life
    var peers = Peers()
    var writer = Writer()
    var reconciliation: Reconciliation
    var notices = RemovalNotices()
    var catalogueNode: CatalogueNode
    var replication: Replication
    /// Membership core: who is reachable.
    public private(set) var membership: Membership
    private var clock = NodeClock()
    var mirror: Mirror
    var forwarding = Forwarding()
    var names = Names()
    var sandboxes = Sandboxes()
    var following = Following()
    var claims: Claims
    var surroundings: Surroundings

    var outbox: Outbox
    var requests = Requests()
    var proposals = Proposals()

    /// - Parameters:
    ///   - rows: The store's content.
    ///   - signing: Signs with this node's key, verifies, and hashes.
    ///   - seed: Seed of everything random that need not be secret.
    ///   - mirrors: True if networks of other engines are made on this one, too; false in Swarm, which does that itself.
    ///   - startsMissed: True if containers are started whose start failed as this daemon was not there, and whose restart policy wants
    ///     them to run.
    ///   - parameters: Periods and limits of the membership protocol.
    /// - Throws: ``DecodeError`` if a stored row does not decode.
    public init(
        identity: NodeIdentity, rows: StoredRows, signing: any RecordSigning, seed: UInt64, mirrors: Bool = true,
        startsMissed: Bool = false, parameters: MembershipParameters = .init()
    ) throws(DecodeError) {
        mirror = Mirror(mirrors: mirrors)
        reconciliation = Reconciliation(startsMissed: startsMissed)
        surroundings = Surroundings(routes: identity.routes)
        self.identity = identity
        self.signing = signing
        life = Life(epoch: identity.epoch, boot: identity.boot, isRolledBack: rows[.node]?[NodeRow.rollback] != nil)
        outbox = Outbox(
            journal: WriteJournal(
                count: try (rows[.node]?[NodeRow.writes]).map { bytes throws(DecodeError) in try UInt64(wire: bytes) } ?? 0,
                announced: try (rows[.node]?[NodeRow.announcedWrites]).map { bytes throws(DecodeError) in
                    try UInt64(wire: bytes)
                }))
        catalogueNode = try CatalogueNode(
            node: identity.id, epoch: identity.epoch, boot: identity.boot, rows: rows, versions: identity.versions)
        replication = Replication(
            node: identity.id, life: Incarnation(epoch: identity.epoch, boot: identity.boot).life, signing: signing,
            versions: identity.versions)
        membership = Membership(
            node: identity.id, incarnation: Incarnation(epoch: identity.epoch, boot: identity.boot), seed: seed,
            parameters: parameters)
        inventory = try Inventory(rows: rows, seed: seed)
        let handovers = try Handovers(rows: rows) { [catalogueNode, inventory] handover in
            let network = catalogueNode.catalogue.network(holding: handover.subnet)?.id
            return network.map { inventory.addresses(on: $0).contains { handover.range.contains($0) } } ?? false
        }
        addresses = try Addresses(rows: rows) { lease in
            handovers.ranges(of: lease.subnet).contains { $0.contains(lease.address) }
        }
        closings = try Closings(rows: rows)
        claims = try Claims(of: identity.id, rows: rows) { [inventory] in inventory.endpoint($0)?.network }
        self.handovers = handovers
    }

    /// Time of the monotonic clock at which ``handle(_:at:)`` wants to be called with a tick at the latest; nil for never.
    public var nextDeadline: Instant? { clock.nextDeadline }
    /// Running time of the event that is being handled.
    var now: Instant { outbox.now }
    /// Names by network, as the DNS shell has them.
    public var nameTables: [NetworkID: NetworkNames] { names.tables }
    /// Names on networks of other drivers, as the DNS shell has them.
    public var otherNames: [EngineNetworkID: OtherNames] { sandboxes.others.tables }
    /// Networks that each sandbox sees, by path of its network namespace.
    public var sandboxScopes: [String: SandboxScope] { sandboxes.scopes }
    /// Epoch and boot counter in which membership and replication speak. It differs from the catalogue's during recovery from a
    /// rollback.
    public var spoken: Incarnation { life.spoken }
    /// True once the kernel was read after the start. Calls are answered from then on.
    public var isReady: Bool { forwarding.isReady }
    /// The agreement of the cluster, as far as it is known here.
    public var catalogue: Catalogue { catalogueNode.catalogue }
    /// This node's entry as the catalogue should have it.
    public var member: Member {
        var member = Member(
            id: identity.id, name: identity.name, address: identity.address, port: identity.port, vtep: identity.vtep,
            publicKey: identity.publicKey, agreementKey: identity.agreementKey, epoch: life.epoch,
            routes: surroundings.announced)
        if let pool = catalogue.cluster?.addressPool {
            // A route for the whole pool is a way to the networks, and no obstacle to one of them.
            member.routes.removeAll { $0 == pool }
            return member.limited(to: pool).telling(identity.versions).limited(to: pool)
        }
        // The cluster to join decides which of the routes matter, and it is not known yet.
        member.routes = Array(surroundings.announced.filter { $0.family == .v4 }.prefix(Limits.routesPerMember))
        return member.telling(identity.versions)
    }

    // MARK: Events

    /// Handles an event.
    ///
    /// - Parameter raw: Time of the monotonic clock. The node itself goes by running time, in which stalls of the process do not
    ///   exist (``RunningClock``).
    /// - Returns: The effects, to be carried out in this order.
    public mutating func handle(_ event: NodeEvent, at raw: Instant) -> [NodeEffect] {
        let reading = clock.read(raw)
        outbox.begin(at: reading.now)
        if reading.isStalled { membership.stalled(now: now) }
        switch event {
        case .stream(let peer, let failure): withMembership { [now] in $0.stream(peer, failure, now: now, into: &$2) }
        case .earlierLife(let peer): withMembership { [now] in $0.heardEarlierLife(of: peer, now: now, report: $1, into: &$2) }
        case .message(let peer, let bytes, let path) where bytes.first == MessageKind.membership.rawValue:
            receive(membership: Array(bytes.dropFirst()), from: peer, path)
        case .membership(let effect): carryOut(effect)
        default: turn { $0.dispatch(event) }
        }
        if let at = membership.nextDeadline, at <= now {
            withMembership { [now] in $0.advance(to: now, report: $1, into: &$2) }
        }
        if let at = nextTimer, at <= now { turn { _ in } }
        clock.setAppointment([nextTimer, membership.nextDeadline].compactMap { $0 }.min())
        return outbox.takeDelivered()
    }

    /// Runs one turn: the body, then the timers that are due; then delivers the effects of both.
    private mutating func turn(_ body: (inout Node) -> Void) {
        body(&self)
        advance()
        names.tell(into: &outbox)
        sandboxes.others.tell(into: &outbox)
        for effect in outbox.take() {
            switch effect {
            case .send(let peer, let bytes, _): outbox.deliver(.send(peer, bytes, membership.path(to: peer)))
            case .peers(let members, _):
                // Delivered first, as messages to new members follow.
                outbox.deliver(effect)
                withMembership { [now, life] in
                    $0.setMembers(
                        members.map(\.id), epoch: life.spokenEpoch, boot: life.boot, now: now, report: $1, into: &$2)
                }
            default: outbox.deliver(effect)
            }
        }
    }

    private mutating func dispatch(_ event: NodeEvent) {
        switch event {
        case .start: KernelFollower.start(&self)
        case .driver(let id, let request): open(id, .driver(request))
        case .control(let id, let request): open(id, .control(request))
        case .joinRequest(let id, let member): open(id, .admission(member))
        case .joinAnswer(let id, let answer): ClusterCalls.joined(&self, id, answer)
        case .message(let peer, let bytes, _): receive(bytes, from: peer)
        case .stream, .earlierLife, .membership: break
        case .stranger(let node, let source): RemovalCalls.sendNotice(&self, to: node, at: source)
        case .notice(let bytes): RemovalCalls.receiveNotice(&self, bytes)
        case .applied(let id, let outcome): applied(id, outcome)
        case .stored(let id, let outcome): stored(id, outcome)
        case .observed(let id, let state): KernelFollower.observed(&self, id, state)
        case .notObserved(let id, let reason):
            forwarding.notObserved(id, into: &outbox)
            outbox.notObserved(reason)
        case .keyMade(let key): CatalogueFollower.rotate(&self, to: key)
        case .engineNews(let news): EngineNews.handle(&self, news)
        case .engineAnswer(let id, let answer): EngineNews.handleAnswer(&self, id, answer)
        case .served(let id): ended(id, error: nil)
        case .hostRoutes(let id, let routes, let isWhole): RouteFollower.routesWereRead(&self, id, routes, isWhole: isWhole)
        case .host(let id, let view): HostFollower.wasRead(&self, id, view)
        case .routesSeen(let id, let sight):
            SandboxRoutes.seen(&self, id, sight)
            Leftovers.seen(&self, id, sight)
            ended(id, error: nil)
        case .sandbox(let path, let failure): sandboxes.setFailure(failure, of: path, into: &outbox)
        case .sandboxGone(let path):
            // The kernel destroys the interfaces in a namespace together with it.
            outbox.log(.warning, "a container's network namespace is gone", [LogKey.sandbox: path])
            KernelFollower.repairSoon(&self)
        case .foreignChange: KernelFollower.repairSoon(&self)
        case .changed(.network(let vni)): forwarding.changed(vni, into: &outbox)
        case .changed(.filter): forwarding.repairSoon(after: .milliseconds(0), into: &outbox)
        // Nothing of a network is in the host's namespace once its containers have started.
        case .changed(.host): surroundings.own.changed(into: &outbox)
        case .seen(let id, let state): KernelFollower.seen(&self, id, state)
        case .restored(let id, let outcome):
            KernelFollower.restored(&self, id, outcome)
            ended(id, error: nil)
        case .heard(let id, let all): ClaimFollower.heard(&self, id, all)
        case .deaf(let id, let reason): ClaimFollower.deaf(&self, id, reason)
        case .tick: break
        }
    }

    // MARK: Membership

    private mutating func receive(membership bytes: [UInt8], from peer: NodeID, _ path: MessagePath) {
        var failure: DecodeError?
        withMembership { [now] membership, report, effects in
            do throws(DecodeError) {
                try membership.receive(bytes, from: peer, via: path, now: now, report: report, into: &effects)
            } catch {
                failure = error
            }
        }
        guard let failure else { return }
        let metadata = [LogKey.peer: peer.short, LogKey.error: "\(failure)"]
        outbox.deliver(.log(.warning, "membership message of a member does not decode", metadata))
    }

    private mutating func withMembership(
        _ body: (inout Membership, (NodeID) -> Membership.PeerReport, inout [Membership.Effect]) -> Void
    ) {
        var out: [Membership.Effect] = []
        Self.with(&membership, &replication, position: catalogue.position, writes: outbox.journal.announced, &out, body)
        for effect in out { carryOut(effect) }
    }

    private mutating func carryOut(_ effect: Membership.Effect) {
        switch effect {
        case .send(let peer, let bytes, let path):
            outbox.deliver(.send(peer, [MessageKind.membership.rawValue] + bytes, path))
        case .status(let peer, let status): turn { PeerFollower.follow(&$0, status, of: peer) }
        case .restarted(let peer): turn { node in node.withReplication { [now = node.now] in $0.reset(peer, now: now, into: &$1) } }
        case .echo(let peer, let mark, let isAhead): turn { RollbackRecovery.echo(&$0, of: peer, mark, isAhead: isAhead) }
        case .heard(let peer, let report, let roundTrip): turn { $0.heard(report, from: peer, roundTrip) }
        }
    }

    /// Peer report: this node's catalogue position, digest and number of durable writes, as probes carry them.
    package mutating func report(for peer: NodeID) -> Membership.PeerReport {
        Membership.PeerReport(
            catalogue: catalogue.position, digest: replication.digest(with: peer), writes: outbox.journal.announced)
    }

    /// Calls the body with the two side by side. Static, so that both change in place.
    private static func with(
        _ membership: inout Membership, _ replication: inout Replication, position: CataloguePosition, writes: UInt64,
        _ out: inout [Membership.Effect],
        _ body: (inout Membership, (NodeID) -> Membership.PeerReport, inout [Membership.Effect]) -> Void
    ) {
        body(
            &membership,
            { Membership.PeerReport(catalogue: position, digest: replication.digest(with: $0), writes: writes) }, &out)
    }

    private mutating func heard(_ report: Membership.PeerReport, from peer: NodeID, _ roundTrip: Interval?) {
        peers.heard(report.catalogue, roundTrip: roundTrip, from: peer)
        if let roundTrip { replication.setRoundTrip(peer, roundTrip) }
        withCatalogue { [now] in $0.learn(report.catalogue, from: peer, now: now, into: &$1) }
        withReplication { [now] in $0.compare(report.digest, with: peer, now: now, into: &$1) }
    }

    // MARK: Timers

    /// Earliest deadline of this node, its membership's aside.
    private var nextTimer: Instant? {
        [
            outbox.timers.next, requests.nextDeadline, writerAwayAt, catalogueNode.nextDeadline, replication.nextDeadline,
        ].compactMap { $0 }.min()
    }

    private mutating func advance() {
        withCatalogue { [now] in $0.advance(to: now, into: &$1) }
        withReplication { [now] in $0.advance(to: now, into: &$1) }
        for timer in NodeTimer.allCases where outbox.timers.takeDue(timer, at: now) { fire(timer) }
        refuseOpenCalls()
        AddressExchange.advanceAddressWaits(&self)
        for id in requests.due(at: now) { expire(id) }
    }

    private mutating func fire(_ timer: NodeTimer) {
        switch timer {
        case .follow: CatalogueFollower.followAll(&self)
        case .store: outbox.retryStore()
        case .rotateKey: CatalogueFollower.requestKey(&self)
        case .version: CatalogueFollower.raiseVersion(&self)
        case .quarantine: RemovalCalls.endQuarantines(&self)
        case .repair: forwarding.repair(of: inventory.portSandboxes, into: &outbox)
        case .reap: forwarding.reap(into: &outbox)
        case .look: forwarding.look(into: &outbox)
        case .close: CatalogueFollower.proposeClosing(&self)
        case .handOver: AddressExchange.proposeHandovers(&self)
        case .assure: RollbackRecovery.assure(&self)
        case .askEngine: EngineNews.askAgain(&self)
        case .mirror: Mirroring.compareNetworks(&self)
        case .removal: NetworkRemovals.advance(&self)
        case .restarts: NetworkRemovals.lookForEnded(&self)
        case .admission: Admissions.wakeAll(&self)
        case .surroundings: RouteFollower.look(&self)
        case .host: HostFollower.look(&self)
        case .announceRoutes: RouteFollower.announce(&self)
        case .newEpoch: RollbackRecovery.proposeNewEpoch(&self)
        case .settle: NameFollower.settle(&self)
        case .reconcile: Leftovers.look(&self)
        }
    }

    /// Ends a call that is past its deadline.
    private mutating func expire(_ id: RequestID) {
        guard let request = requests[id] else { return }
        // A watcher gets an empty list, and asks again.
        if case .nodeChange = request.wait { return finish(id, .control(.nodeChanges(peers.history.none(now: now)))) }
        if case .control(.disconnect) = request.call, case .engine = request.wait { return DisconnectCalls.finish(&self, id, nil) }
        if let undo = request.undo { takeBack(undo) }
        let isSlow = if case .effects = request.wait { true } else { false }
        fail(
            id, DriverError(.unavailable, "timed out: \(isSlow ? "the disk or the kernel is slow" : writerText)"))
    }

    // MARK: Ends of effects

    private mutating func applied(_ id: EffectID, _ outcome: KernelOutcome) {
        outbox.applied(outcome)
        switch outcome {
        case .applied: ended(id, error: nil)
        case .failed(_, let failure):
            ended(id, error: DriverError(.system, failure.description))
            forwarding.refused(into: &outbox)
        }
    }

    private mutating func stored(_ id: EffectID, _ outcome: StoreOutcome) {
        let token = proposals.takeToken(of: id)
        outbox.stored(id, outcome)
        let isStored = outcome == .stored
        if let token { withCatalogue { [now] in $0.stored(token, succeeded: isStored, now: now, into: &$1) } }
        if closings.stored(id) {
            if isStored { CatalogueFollower.proposeClosing(&self) } else { outbox.timers[.close] = now + Closings.retry }
        }
        AddressExchange.handoverStored(&self, id, isStored: isStored)
        RollbackRecovery.rollbackStored(&self, id, isStored: isStored)
        switch outcome {
        case .stored: ended(id, error: nil)
        case .failed(let reason): ended(id, error: DriverError(.system, "state could not be written: \(reason)"))
        }
    }

    /// Goes on with the calls that waited for an effect: they fail with the error, or are answered after their last effect.
    private mutating func ended(_ id: EffectID, error: DriverError?) {
        outbox.ended(id)
        for (request, undo) in requests.waiting(for: id) {
            if let error {
                if let undo { takeBack(undo) }
                fail(request, error)
            } else if let reply = requests.ended(id, for: request) {
                finish(request, reply)
            }
        }
    }

    // MARK: Messages

    /// First byte of a message: the core that the message is for.
    public enum MessageKind: UInt8, Sendable {
        case membership = 1
        case replication = 2
        case catalogue = 3
        case addresses = 4
    }

    /// Log message about one that this build does not understand.
    package static let undecodable = "message of a member does not decode"

    private mutating func receive(_ bytes: [UInt8], from peer: NodeID) {
        guard let kind = bytes.first.flatMap(MessageKind.init(rawValue:)) else { return }
        let body = Array(bytes.dropFirst())
        do throws(DecodeError) {
            switch kind {
            case .membership: break
            case .replication:
                var out: [Replication.Effect] = []
                try replication.receive(body, from: peer, now: now, into: &out)
                KernelFollower.runReplication(&self, out)
            case .catalogue:
                var out: [CatalogueNode.Effect] = []
                try catalogueNode.receive(body, from: peer, now: now, into: &out)
                runCatalogue(out)
            case .addresses: AddressExchange.receiveAddress(&self, try AddressMessage(wire: body), from: peer)
            }
        } catch {
            outbox.log(.warning, Self.undecodable, [LogKey.peer: name(of: peer), LogKey.error: "\(error)"])
        }
    }

    /// Calls the body with the catalogue core, and carries out its effects.
    mutating func withCatalogue(_ body: (inout CatalogueNode, inout [CatalogueNode.Effect]) -> Void) {
        var out: [CatalogueNode.Effect] = []
        body(&catalogueNode, &out)
        runCatalogue(out)
    }

    /// Calls the body with the replication core, and carries out its effects.
    mutating func withReplication(_ body: (inout Replication, inout [Replication.Effect]) -> Void) {
        var out: [Replication.Effect] = []
        body(&replication, &out)
        KernelFollower.runReplication(&self, out)
    }

    /// Name of a node by the catalogue; its short id where the catalogue does not know it.
    func name(of node: NodeID) -> String { catalogue.name(node).printable() }
}
