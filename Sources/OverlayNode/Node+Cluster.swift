import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayReplication

/// The life of the cluster: init, join, leave.
extension Node {
    mutating func performControl(_ call: ControlRequest, _ id: RequestID) throws(DriverError) -> Step {
        switch call {
        case .initialise(let call): return try initialise(call)
        case .join(let token, let host, let port): return try contact(token, host, port, id)
        case .leave(let force): return try leaveCluster(force: force, id)
        case .joinToken(let newSecret):
            try checkCluster()
            if let newSecret, catalogue.cluster?.joinSecret != newSecret { return .propose(.setJoinSecret(newSecret)) }
            guard let report = joinToken() else { throw Self.noCluster }
            return .reply(.control(.token(report)))
        case .removeNode(let name, let force, let now): return try removeNode(name, force: force, isAtOnce: now)
        case .promote(let force): return try promote(force: force, id)
        case .nodes:
            try checkCluster()
            return .reply(.control(.nodes(nodeReports())))
        case .nodeChanges(let after):
            try checkCluster()
            guard let changes = changes(after: after) else {
                requests.wait(id, for: .nodeChange)
                return .wait
            }
            return .reply(.control(.nodeChanges(changes)))
        case .networks:
            try checkCluster()
            return .reply(.control(.networks(networkReports())))
        case .network(let name):
            try checkCluster()
            let reports = networkReports().filter {
                $0.name == name || !name.isEmpty && ($0.id.hasPrefix(name) || $0.engineID?.hasPrefix(name) == true)
            }
            guard let report = reports.first(where: { $0.name == name }) ?? reports.first(where: { !$0.isRemoved }) ?? reports.first
            else {
                throw DriverError(.notFound, "no such network: \(name)")
            }
            return .reply(.control(.network(report)))
        case .createNetwork(let network): return try createByCommand(network, id)
        case .removeNetwork(let name): return try removeByCommand(name, id)
        case .status: return .reply(.control(.status(statusReport())))
        }
    }

    /// A control call's proposal was accepted.
    mutating func decided(_ call: ControlRequest, _ id: RequestID) {
        switch call {
        case .leave:
            // The removal itself has made this node forget the cluster.
            finish(id, .control(.done("Node left the cluster.")))
        case .removeNode(let name, _, _): finish(id, .control(.done(name)))
        default: perform(id)
        }
    }

    // MARK: init

    private mutating func initialise(_ call: Initialise) throws(DriverError) -> Step {
        guard catalogue.cluster == nil else {
            throw DriverError(
                .conflict, "this node is in cluster \(clusterName) already; `swift-overlay leave` takes it out")
        }
        guard call.addressPool.family == .v4, call.addressPool.isNetwork,
            call.subnetLength >= call.addressPool.length, call.subnetLength <= 29
        else {
            throw DriverError(
                .invalid, "the default address pool must be an IPv4 subnet, and its mask length between the pool's and 29")
        }
        let cluster = Cluster(
            id: call.cluster, writer: identity.id, addressPool: call.addressPool, subnetLength: call.subnetLength,
            dataPathPort: call.dataPathPort, rootKey: call.rootKey, rootPublicKey: call.rootPublicKey, gossipKey: call.gossipKey,
            joinSecret: call.joinSecret)
        let member = member
        let stored = takeCluster { $0.initialise(cluster, member: member, into: &$1) }
        guard let report = joinToken() else { throw Self.noCluster }
        return .after([stored], .control(.token(report)), undo: .cluster)
    }

    /// Becomes a member, in one transaction: all of it is on the disk, or nothing.
    private mutating func takeCluster(_ body: (inout CatalogueNode, inout [CatalogueNode.Effect]) -> Void) -> EffectID {
        var out: [CatalogueNode.Effect] = []
        withReplication { $0.leaveAll(into: &$1) }
        life.joined()
        replication.setLife(life.spoken.life)
        // What peers heard of an earlier life here was of another cluster, or is void since the node was removed.
        outbox.assure()
        body(&catalogueNode, &out)
        var writes: [StoreWrite] = [life.row]
        out.removeAll { effect in
            guard case .store(nil, let rows) = effect else { return false }
            writes += rows
            return true
        }
        let stored = outbox.store(writes)
        runCatalogue(out)
        return stored
    }

    private mutating func storeEpoch() -> EffectID {
        outbox.store([life.row])
    }

    private var clusterName: String { catalogue.cluster.map { $0.id.short } ?? "-" }

    func joinToken() -> JoinTokenReport? {
        guard let cluster = catalogue.cluster else { return nil }
        let pin = Array(signing.hash(cluster.rootPublicKey).prefix(JoinToken.pinBytes))
        let token = JoinToken(pin: pin, secret: cluster.joinSecret.secret).description
        let host = identity.address.family == .v6 ? "[\(identity.address)]" : "\(identity.address)"
        let target =
            identity.port == 7946 ? (identity.address.family == .v6 ? "\(identity.address)" : host) : "\(host):\(identity.port)"
        return JoinTokenReport(
            token: token, command: "swift-overlay join --token \(token) \(target)", expires: cluster.joinSecret.expires)
    }

    // MARK: join

    private mutating func contact(_ text: String, _ host: String, _ port: UInt16, _ id: RequestID) throws(DriverError) -> Step {
        guard catalogue.cluster == nil else {
            throw DriverError(
                .conflict, "this node is in cluster \(clusterName) already; `swift-overlay leave` takes it out")
        }
        guard let token = JoinToken(text) else {
            throw DriverError(.invalid, "the token is malformed; `swift-overlay join-token` on a member prints it")
        }
        life.beginEpoch()
        let contact = JoinContact(host: host, port: port, pin: token.pin, secret: token.secret, member: member)
        // Durable before anybody hears of it, and with it that an earlier membership is forgotten: after a crash its blocks would be
        // handed out of, in the name of the new one.
        return .after([storeEpoch()], .contact(contact), undo: nil)
    }

    mutating func joined(_ id: RequestID, _ answer: JoinAnswer) {
        switch answer {
        case .refused(let reason): fail(id, DriverError(.unavailable, reason))
        case .admitted(let snapshot):
            guard catalogue.cluster == nil else { return fail(id, DriverError(.conflict, "this node joined meanwhile")) }
            guard snapshot.members[identity.id]?.epoch == life.epoch else {
                return fail(id, DriverError(.invalid, "the answer does not admit this node"))
            }
            let stored = takeCluster { [life] in $0.join(snapshot, epoch: life.epoch, into: &$1) }
            let done = "This node joined cluster \(clusterName) as \(identity.name)."
            requests.wait(id, for: .effects([stored], .control(.done(done)), undo: .cluster))
        }
    }

    /// The other side: somebody proved to know the secret.
    mutating func admit(_ member: Member) throws(DriverError) -> Step {
        try checkCluster()
        let pool = catalogue.cluster?.addressPool
        if let pool, catalogue.members[member.id] == member.limited(to: pool) { return .reply(.admission(.admitted(catalogue))) }
        return .propose(.admit(member))
    }

    // MARK: leave

    private mutating func leaveCluster(force: Bool, _ id: RequestID) throws(DriverError) -> Step {
        try checkCluster()
        guard force || inventory.endpointCount == 0 else {
            throw DriverError(
                .conflict,
                "\(inventory.endpointCount) container interface(s) of this host are on overlay networks; disconnect them, or use --force")
        }
        if isWriterAway, force {
            outbox.log(.warning, "left without telling the cluster; remove this node there with `swift-overlay node rm --force`")
            forgetCluster()
            return .reply(
                .control(
                    .done(
                        "Node left the cluster, which could not be told; remove it there with `swift-overlay node rm --force \(identity.name)`."
                    )))
        }
        return .propose(.remove(identity.id, now: true))
    }

    /// Takes everything of the cluster away from this host.
    mutating func forgetCluster() {
        for endpoint in inventory.allEndpoints { _ = removeEndpoint(endpoint) }
        var operations: [KernelOperation] = []
        for vni in forwarding.vnis { operations += forwarding.lower(vni) }
        outbox.apply(operations)
        withReplication { $0.leaveAll(into: &$1) }
        subscribed = []
        addresses = Addresses()
        inventory = Inventory()
        closings = Closings()
        mirror.forget()
        handovers = Handovers()
        peers.forgetAll()
        life.forgetRollback(into: &outbox)
        writerStatus.answered()
        outbox.store([
            .clear(.network), .clear(.endpoint), .clear(.lease), .clear(.closing), .clear(.handover), .clear(.quarantine),
            .clear(.declined),
            .delete(.node, key: NodeRow.rollback),
        ])
        withCatalogue { $0.leave(into: &$1) }
        tellPeers()
        // There is no earlier life to hear of any more.
        assure()
    }
}

/// What `swift-overlay join` needs: the cluster's key, to know it by, and a secret, to be let in. `SOVT1-` pin `-` secret, in base 32.
public struct JoinToken: Hashable, Sendable, LosslessStringConvertible {
    static let pinBytes = 20
    /// The first 160 bits of SHA-256 of the root key's public half.
    public var pin: [UInt8]
    /// 16 bytes. Never logged.
    public var secret: [UInt8]

    public init(pin: [UInt8], secret: [UInt8]) {
        self.pin = pin
        self.secret = secret
    }

    public init?(_ text: String) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[0] == "SOVT1", let pin = Self.decode(parts[1]), pin.count == Self.pinBytes,
            let secret = Self.decode(parts[2]), secret.count == 16
        else { return nil }
        self.init(pin: pin, secret: secret)
    }

    public var description: String { "SOVT1-\(Self.encode(pin))-\(Self.encode(secret))" }

    private static let digits = Array("abcdefghijklmnopqrstuvwxyz234567".utf8)

    /// RFC 4648 §6, lower case, without padding.
    private static func encode(_ bytes: [UInt8]) -> String {
        var text: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for byte in bytes {
            buffer = (buffer << 8 | UInt32(byte)) & 0xFFFF
            bits += 8
            while bits >= 5 {
                bits -= 5
                text.append(digits[Int(buffer >> UInt32(bits)) & 31])
            }
        }
        if bits > 0 { text.append(digits[Int(buffer << UInt32(5 - bits)) & 31]) }
        return String(decoding: text, as: UTF8.self)
    }

    private static func decode(_ text: Substring) -> [UInt8]? {
        guard text.utf8.count <= 64 else { return nil }
        var bytes: [UInt8] = []
        var buffer: UInt32 = 0
        var bits = 0
        for character in text.lowercased().utf8 {
            guard let digit = digits.firstIndex(of: character) else { return nil }
            buffer = (buffer << 5 | UInt32(digit)) & 0xFFF
            bits += 5
            if bits >= 8 {
                bits -= 8
                bytes.append(UInt8(truncatingIfNeeded: buffer >> UInt32(bits)))
            }
        }
        return bytes
    }
}
