import OverlayModel
import Testing

@testable import OverlayCrypto

extension PacketSealer {
    fileprivate mutating func sealed(_ plaintext: [UInt8], on channel: PacketChannel) throws -> [UInt8] {
        let packet = seal(plaintext, on: channel)
        return try #require(packet)
    }
}

@Suite struct PacketTests {
    private static let key = [UInt8](repeating: 7, count: 32)
    private static let alice = NodeID(bits: 0xA)
    private static let bob = NodeID(bits: 0xB)
    private static let text = Array("an endpoint came".utf8)

    private static func opener(_ peers: [NodeID] = [alice]) -> PacketOpener {
        var opener = PacketOpener(clusterKey: key)
        opener.setPeers(peers)
        return opener
    }

    private static func sealer(boot: UInt32 = 1, node: NodeID = alice, key: [UInt8] = key) -> PacketSealer {
        PacketSealer(clusterKey: key, node: node, boot: boot)
    }

    private static func counter(_ packet: [UInt8]) -> UInt64 { packet[18..<26].reduce(0) { $0 << 8 | UInt64($1) } }

    @Test(arguments: [PacketChannel.datagram, .stream], [0, 1, 16, 1158, 65_536])
    func whatIsSealedOpens(channel: PacketChannel, count: Int) throws {
        var sealer = Self.sealer()
        var opener = Self.opener()
        let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let packet = try sealer.sealed(plaintext, on: channel)
        #expect(packet.count == count + PacketFormat.overhead)
        let opened = try opener.open(packet, on: channel)
        #expect(opened.sender == Self.alice && opened.plaintext == plaintext)
        #expect(PacketFormat.sender(of: packet, on: channel) == Self.alice)
    }

    @Test func anotherKeyDoesNotOpen() throws {
        var sealer = Self.sealer(key: [UInt8](repeating: 8, count: 32))
        var opener = Self.opener()
        let packet = try sealer.sealed(Self.text, on: .datagram)
        #expect(throws: OpenError.notAuthentic) { try opener.open(packet, on: .datagram) }
    }

    @Test(arguments: [0, 16])
    func aFlippedBitAnywhereIsNoticed(count: Int) throws {
        var sealer = Self.sealer()
        let packet = try sealer.sealed(Array(Self.text.prefix(count)), on: .datagram)
        var opener = Self.opener([Self.alice, Self.bob])
        for bit in 0..<packet.count * 8 {
            var altered = packet
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: OpenError.self, "bit \(bit)") { try opener.open(altered, on: .datagram) }
        }
        #expect(try opener.open(packet, on: .datagram).plaintext.count == count, "and none of that closed the window")
    }

    @Test func partsOfPacketsDoNotOpen() throws {
        var sealer = Self.sealer()
        var opener = Self.opener()
        let packet = try sealer.sealed(Self.text, on: .datagram)
        for count in 0..<packet.count {
            #expect(throws: OpenError.self) { try opener.open(Array(packet[..<count]), on: .datagram) }
        }
        #expect(throws: OpenError.notAuthentic) { try opener.open(packet + [0], on: .datagram) }
        #expect(throws: OpenError.malformed) { try opener.open([], on: .datagram) }
        #expect(throws: OpenError.malformed) { try opener.open([UInt8](repeating: 0, count: 100), on: .datagram) }
    }

    @Test func strangersAreNamedAndRefused() throws {
        var sealer = Self.sealer(node: Self.bob)
        var opener = Self.opener()
        let packet = try sealer.sealed(Self.text, on: .datagram)
        #expect(throws: OpenError.unknownSender(Self.bob)) { try opener.open(packet, on: .datagram) }
        opener.setPeers([Self.alice, Self.bob])
        #expect(try opener.open(packet, on: .datagram).sender == Self.bob)
        opener.setPeers([Self.alice])
        let next = try sealer.sealed(Self.text, on: .datagram)
        #expect(throws: OpenError.unknownSender(Self.bob)) { try opener.open(next, on: .datagram) }
    }

    /// A member cannot speak as another one by changing the name on its packet.
    @Test func aPacketIsItsSendersOnly() throws {
        var sealer = Self.sealer()
        var opener = Self.opener([Self.alice, Self.bob])
        var packet = try sealer.sealed(Self.text, on: .datagram)
        packet.replaceSubrange(2..<18, with: Self.bob.bytes)
        #expect(throws: OpenError.notAuthentic) { try opener.open(packet, on: .datagram) }
    }

    @Test func aPacketOpensOnce() throws {
        var sealer = Self.sealer()
        var opener = Self.opener()
        let packet = try sealer.sealed(Self.text, on: .datagram)
        _ = try opener.open(packet, on: .datagram)
        #expect(throws: OpenError.replayed) { try opener.open(packet, on: .datagram) }
        opener.setPeers([Self.alice, Self.bob])
        #expect(throws: OpenError.replayed, "news of members opens no window") { try opener.open(packet, on: .datagram) }
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func anyOrderWithinTheWindowOpensEachOnce(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var sealer = Self.sealer()
        var opener = Self.opener()
        let packets = try (0..<1024).map { _ in try sealer.sealed(Self.text, on: .datagram) }
        for packet in packets.shuffled(using: &generator) { _ = try opener.open(packet, on: .datagram) }
        for packet in packets { #expect(throws: OpenError.replayed) { try opener.open(packet, on: .datagram) } }
    }

    @Test func whatIsBehindTheWindowIsRefused() throws {
        var sealer = Self.sealer()
        var opener = Self.opener()
        let packets = try (0..<3000).map { _ in try sealer.sealed(Self.text, on: .datagram) }
        _ = try opener.open(packets[1024], on: .datagram)
        #expect(throws: OpenError.replayed) { try opener.open(packets[0], on: .datagram) }
        _ = try opener.open(packets[1], on: .datagram)
        // A leap clears what it leaps over, and no more.
        _ = try opener.open(packets[2999], on: .datagram)
        #expect(throws: OpenError.replayed) { try opener.open(packets[1975], on: .datagram) }
        _ = try opener.open(packets[1976], on: .datagram)
        #expect(throws: OpenError.replayed) { try opener.open(packets[1976], on: .datagram) }
    }

    /// The window against a set of everything that was seen.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func theWindowKnowsWhatItSaw(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var window = ReplayWindow()
        var seen: Set<UInt64> = []
        var highest: UInt64 = 0
        var next: UInt64 = seed == 1 ? 0 : seed == 2 ? .max - 40_000 : generator.next() >> 1
        for _ in 0..<20_000 {
            next = next &+ [0, 1, 1, 1, 2, 63, 64, 65, 1023, 1024, 1025].randomElement(using: &generator)! / (seed < 3 ? 64 : 1)
            let back = UInt64.random(in: 0...1100, using: &generator)
            let counter = Bool.random(using: &generator) && next > back ? next - back : next
            let isTooOld = !seen.isEmpty && counter < highest && highest - counter >= 1024
            #expect(
                window.accepts(counter) == (!seen.contains(counter) && !isTooOld),
                "seed \(seed), counter \(counter), highest \(highest)")
            guard window.accepts(counter) else { continue }
            window.insert(counter)
            seen.insert(counter)
            highest = max(highest, counter)
        }
    }

    @Test func theEndOfTheNumbersIsNoTrap() {
        var window = ReplayWindow()
        for counter in [0, .max, .max - 1, .max - 1023] as [UInt64] {
            #expect(window.accepts(counter))
            window.insert(counter)
            #expect(!window.accepts(counter))
        }
        #expect(!window.accepts(.max - 1024) && !window.accepts(0))
    }

    @Test func channelsDoNotMix() throws {
        var sealer = Self.sealer()
        var opener = Self.opener()
        let datagram = try sealer.sealed(Self.text, on: .datagram)
        #expect(throws: OpenError.malformed) { try opener.open(datagram, on: .stream) }
        var renamed = datagram
        renamed[1] = PacketChannel.stream.rawValue
        #expect(throws: OpenError.notAuthentic) { try opener.open(renamed, on: .stream) }
        // Each has counters of its own.
        let frame = try sealer.sealed(Self.text, on: .stream)
        #expect(Self.counter(frame) == Self.counter(datagram))
        _ = try opener.open(datagram, on: .datagram)
        _ = try opener.open(frame, on: .stream)
    }

    @Test func laterLivesCountAboveEarlierOnes() throws {
        var last: UInt64 = 0
        for boot in [1, 2, 3, 1000, 0xFF_FFFF] as [UInt32] {
            var sealer = Self.sealer(boot: boot)
            let first = Self.counter(try sealer.sealed([], on: .datagram))
            #expect(first > last, "boot \(boot)")
            last = first + ((1 << 40) - 1)
        }
        // What an earlier life sent is refused once a later one was heard.
        var old = Self.sealer(boot: 1)
        var new = Self.sealer(boot: 2)
        var opener = Self.opener()
        var late = try old.sealed(Self.text, on: .datagram)
        _ = try opener.open(try new.sealed(Self.text, on: .datagram), on: .datagram)
        #expect(throws: OpenError.earlierLife(Self.alice)) { try opener.open(late, on: .datagram) }
        late[late.count - 1] ^= 1
        #expect(throws: OpenError.notAuthentic) { try opener.open(late, on: .datagram) }
        // Who learns that it is behind goes on above.
        old.raise(boot: 2, start: 1 << 20)
        _ = try opener.open(try old.sealed(Self.text, on: .datagram), on: .datagram)
        old.raise(boot: 1)
        _ = try opener.open(try old.sealed(Self.text, on: .datagram), on: .datagram)
    }

    @Test func noNonceIsUsedTwice() throws {
        var sealer = Self.sealer()
        var seen: [PacketChannel: Set<UInt64>] = [.datagram: [], .stream: []]
        for index in 0..<100_000 {
            if index == 50_000 { sealer = PacketSealer(clusterKey: Self.key, node: Self.alice, boot: 1, after: sealer) }
            let channel: PacketChannel = index % 3 == 0 ? .stream : .datagram
            let packet = try sealer.sealed([], on: channel)
            let isNew = seen[channel]?.insert(Self.counter(packet)).inserted
            if isNew != true {
                Issue.record("packet \(index) has a counter that was used before")
                return
            }
        }
    }
}
