public import Fuzzing
import OverlayCrypto
import OverlayModel

private let key = [UInt8](repeating: 7, count: 32)
private let cluster = ClusterID(bits: 1)
private let sender = NodeID(bits: 5)
private let salt = [UInt8](repeating: 1, count: 16)

/// What comes from the network before it is known to be of a member. The first byte tells what is tried with the rest.
@_silgen_name("fuzzTarget") public func target() -> Target {
    var sealer = PacketSealer(clusterKey: key, node: sender, boot: 1)
    let text = Array("hello".utf8)
    let packets = [sealer.seal(text, on: .datagram), sealer.seal([], on: .datagram), sealer.seal(text, on: .stream)]
    let join = JoinSealer(cluster: cluster, secret: key)
    let frames = [join.sealRequest(text, salt: salt), join.sealAnswer(text, to: salt)]
    let seeds: [[UInt8]] = (packets + frames).compactMap { $0.map { [0] + $0 } }
    let counters: [UInt64] = [1, 5, 3, 5, 1024, 1025, 1 << 40, (1 << 40) - 1023, .max, 2]
    return Target(seeds: seeds + [[1, 0, 0] + text, [1, 30, 1] + text, [2] + counters.flatMap(\.wireBytes)], run: run)
}

private func run(_ bytes: [UInt8]) {
    guard let what = bytes.first else { return }
    let rest = Array(bytes.dropFirst())
    switch what {
    case 0: open(rest)
    case 1: alter(rest)
    case 2: replay(rest)
    default: break
    }
}

private func makeOpener() -> PacketOpener {
    var opener = PacketOpener(clusterKey: key)
    opener.setPeers([sender])
    return opener
}

private func open(_ packet: [UInt8]) {
    var opener = makeOpener()
    for channel in [PacketChannel.datagram, .stream] {
        // Once at the most.
        if (try? opener.open(packet, on: channel)) != nil { require((try? opener.open(packet, on: channel)) == nil, "no replay") }
    }
    let join = JoinSealer(cluster: cluster, secret: key)
    if let (salt, text) = join.openRequest(packet) { require(text.count < packet.count && salt.count == 16, "a request") }
    _ = join.openAnswer(packet, to: salt)
}

/// One altered byte, told by its place and how, is noticed; none is none.
private func alter(_ bytes: [UInt8]) {
    guard bytes.count >= 2 else { return }
    let text = Array(bytes.dropFirst(2))
    var sealer = PacketSealer(clusterKey: key, node: sender, boot: 1)
    guard var packet = sealer.seal(text, on: .stream) else { fatalError("not sealed") }
    packet[Int(bytes[0]) % packet.count] ^= bytes[1]
    var opener = makeOpener()
    let opened = try? opener.open(packet, on: .stream)
    require(opened?.plaintext == (bytes[1] == 0 ? text : nil), "what is altered is not opened")
}

/// The window of counters against a set that forgets nothing.
private func replay(_ bytes: [UInt8]) {
    var reader = ByteReader(bytes)
    var window = ReplayWindow()
    var seen: Set<UInt64> = []
    var highest: UInt64 = 0
    while let counter = try? reader.integer(UInt64.self) {
        let isNew = !seen.contains(counter) && (seen.isEmpty || counter > highest || highest - counter < 1024)
        require(window.accepts(counter) == isNew, "\(counter) after \(highest)")
        guard isNew else { continue }
        window.insert(counter)
        seen.insert(counter)
        highest = max(highest, counter)
    }
}
