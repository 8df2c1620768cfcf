public import Fuzzing
import OverlayModel

@testable import OverlayCrypto

private let sender = NodeKey(privateBytes: [UInt8](repeating: 1, count: 32)) ?? NodeKey()
private let receiver = NodeKey(privateBytes: [UInt8](repeating: 2, count: 32)) ?? NodeKey()

private func cipher(_ key: NodeKey, _ peer: NodeKey) -> PacketCipher {
    var cipher = PacketCipher(identity: key, boot: 1, salt: [1, 2, 3, 4])
    cipher.setKeys([.init(id: 2, bytes: [UInt8](repeating: 7, count: 32)), .init(id: 1, bytes: [UInt8](repeating: 8, count: 32))])
    cipher.setPeers([peer.id: peer.agreementBytes])
    return cipher
}

/// Packets from the network before they are known to come from a member. The first byte tells what is done with the rest.
@_silgen_name("fuzzTarget") public func target() -> Target {
    var sealer = cipher(sender, receiver)
    let text = Array("hello".utf8)
    let packets = [(text, PacketChannel.datagram), ([], .datagram), (text, .stream)].compactMap {
        sealer.seal($0.0, to: receiver.id, on: $0.1)
    }
    let counters: [UInt64] = [1, 5, 3, 5, 1024, 1025, 1 << 40, (1 << 40) - 1023, .max, 2]
    return Target(
        seeds: packets.map { [0] + $0 } + [[1, 0, 0] + text, [1, 30, 1] + text, [2] + counters.flatMap(\.wireBytes)], run: run)
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

private func open(_ packet: [UInt8]) {
    var opener = cipher(receiver, sender)
    for channel in PacketChannel.allCases {
        // A packet is opened once at most.
        if (try? opener.open(packet, on: channel)) != nil { require((try? opener.open(packet, on: channel)) == nil, "no replay") }
    }
}

/// Alters one byte, given by its place and how. A change must be noticed, and no change must pass.
private func alter(_ bytes: [UInt8]) {
    guard bytes.count >= 2 else { return }
    let text = Array(bytes.dropFirst(2))
    var sealer = cipher(sender, receiver)
    guard var packet = sealer.seal(text, to: receiver.id, on: .stream) else { fatalError("not sealed") }
    packet[Int(bytes[0]) % packet.count] ^= bytes[1]
    var opener = cipher(receiver, sender)
    let opened = try? opener.open(packet, on: .stream)
    require(opened?.plaintext == (bytes[1] == 0 ? text : nil), "what is altered is not opened")
}

/// Compares the replay window with a set that forgets nothing.
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
