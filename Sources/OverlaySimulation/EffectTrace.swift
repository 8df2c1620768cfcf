import OverlayDNS
import OverlayDriver
import OverlayModel
import OverlayNode

/// Running hash of everything that the nodes of a world do, so that two builds can be compared: equal hashes mean equal effects, in
/// the same order, at the same times, byte for byte.
///
/// Values are written without the names of their types and properties, so a renamed type leaves the hash as it is. Hashes of two
/// processes compare only if both ran with `SWIFT_DETERMINISTIC_HASHING` set, as sets and dictionaries are walked in places.
public struct EffectTrace: Sendable {
    /// Hash of everything.
    public private(set) var whole = Hash()
    /// Hash without texts that only people read: log messages, error messages, reports.
    public private(set) var bare = Hash()
    /// Number of events that were handled.
    public private(set) var events = 0
    /// One line for each event; empty unless they were asked for.
    public private(set) var lines: [String] = []
    private let keepsLines: Bool
    private var text: [UInt8] = []
    private var machine: [UInt8] = []

    init(keepsLines: Bool) { self.keepsLines = keepsLines }

    /// FNV-1a with 64 bits. It only finds differences, so it need not resist an attack.
    public struct Hash: Hashable, Sendable, CustomStringConvertible {
        private var hash = FNV1a<UInt64>()

        public init() {}

        mutating func mix(_ bytes: [UInt8]) { hash.combine(bytes) }

        public mutating func mix(_ other: Hash) { mix(other.hash.value.wireBytes) }

        public var description: String { hexadecimal(hash.value.wireBytes) }
    }

    /// Adds the effects of one event.
    mutating func add(node: Int, at now: Instant, _ effects: [NodeEffect]) {
        events += 1
        text.removeAll(keepingCapacity: true)
        machine.removeAll(keepingCapacity: true)
        write("\(now.nanoseconds) \(node)")
        for effect in effects { write(effect) }
        whole.mix(text)
        bare.mix(machine)
        guard keepsLines else { return }
        lines.append("\(now.nanoseconds) host\(node + 1) \(effects.count) \(bare) \(whole)")
        for effect in effects { lines.append("    \(String(describing: effect).prefix(400))") }
    }

    private mutating func write(_ words: String) { write(Array(words.utf8)) }

    private mutating func write(_ bytes: [UInt8]) {
        text += bytes + [0xFF]
        machine += bytes + [0xFF]
    }

    private mutating func write(_ effect: NodeEffect) {
        switch effect {
        case .send(let peer, let bytes, let path):
            write("send \(path)")
            write(peer.wireBytes + bytes)
        case .respond(let id, let response):
            write("respond \(id.value)")
            text += Self.bytes(of: response)
            if case .failed(let error) = response {
                machine += Self.bytes(of: error.code)
            } else {
                machine += Self.bytes(of: response)
            }
        case .answer(let id, let response):
            write("answer \(id.value)")
            text += Self.bytes(of: response)
        case .store(let id, let writes):
            write("store \(id.value)")
            for row in writes { write(Self.bytes(of: row)) }
        case .apply(let id, let operations):
            write("apply \(id.value)")
            for operation in operations { write(Self.bytes(of: operation)) }
        case .observe(let id, let sandboxes): write("observe \(id.value) \(sandboxes.count)")
        case .look(let id, let vni): write("look \(id.value) \(vni)")
        case .restore(let id, let port): write("restore \(id.value) \(port)")
        case .listen(let endpoint, let vni, let hearing):
            write("listen \(vni)")
            write(endpoint.wireBytes + (hearing.map { Self.bytes(of: $0) } ?? []))
        case .peers(let members, let keys):
            write("peers")
            write(members.flatMap(\.wireBytes) + keys.flatMap { Self.bytes(of: $0) })
        case .engineCall(let id, let call):
            write("call \(id.value)")
            write(Self.bytes(of: call))
        case .names(let network, let names):
            write("names")
            write(network.wireBytes + Array("\(names?.title ?? "") \(names?.checksum ?? 0)".utf8))
        case .subnets(let subnets): write("subnets \(subnets)")
        case .otherNames(let network, let names):
            write("other names \(network.text)")
            write(Self.bytes(of: names as Any))
        case .unsettled(let networks): write("unsettled \(networks.sorted())")
        case .suspects(let owners): write("suspects \(owners.sorted())")
        case .publishNames: write("publish names")
        case .serve(let id, let path, let scope):
            write("serve \(id.value) \(path)")
            write(Self.bytes(of: scope))
        case .unserve(let path): write("unserve \(path)")
        case .readRoutes(let id): write("routes \(id.value)")
        case .readHost(let id, let isChoosing): write("host \(id.value) \(isChoosing)")
        case .lookForRoutes(let id, let path, let routes): write("look \(id.value) \(path) \(routes)")
        case .moveRoutes(let path, let mac, let routes): write("move routes \(path) \(mac) \(routes)")
        case .addRoutes(let path, let mac, let routes): write("routes \(path) \(mac) \(routes)")
        case .makeKey: write("make key")
        case .notify(let target, let bytes):
            write("notify \(target)")
            write(bytes)
        case .raiseBoot(let boot): write("boot \(boot)")
        case .contact(let id, let contact):
            write("contact \(id.value) \(contact.host) \(contact.ports)")
            write(contact.member.wireBytes)
        case .admit(let id, let answer):
            write("admit \(id.value)")
            text += answer.wireBytes
            if case .admitted = answer { machine += answer.wireBytes }
        case .log(let level, let message, let metadata):
            write("log \(level)")
            text += Array("\(message) \(metadata.sorted { $0.key < $1.key })".utf8)
        }
    }

    /// Bytes of a value's leaves and the names of its enumeration cases, in order; elements of sets and dictionaries are sorted.
    private static func bytes(of value: Any) -> [UInt8] {
        // Case names belong to the program, raw values to the disk.
        if let space = value as? StoreSpace { return Array(space.rawValue.utf8) + [0xFE] }
        let mirror = Mirror(reflecting: value)
        let parts = mirror.children.lazy.map { bytes(of: $0.value) }
        switch mirror.displayStyle {
        case .enum: return Array((mirror.children.first?.label ?? "\(value)").utf8) + [0xFE] + parts.joined()
        case .set, .dictionary: return parts.sorted { $0.lexicographicallyPrecedes($1) }.flatMap { $0 }
        case .collection: return Array("\(mirror.children.count)".utf8) + [0xFE] + parts.joined()
        case .optional: return [mirror.children.isEmpty ? 0 : 1] + parts.joined()
        default: return mirror.children.isEmpty ? Array("\(value)".utf8) + [0xFE] : parts.flatMap { $0 }
        }
    }
}
