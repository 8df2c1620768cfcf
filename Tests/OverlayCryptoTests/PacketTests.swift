import OverlayModel
import Testing

@testable import OverlayCrypto

@Suite struct PacketTests {
    private static let alice = NodeKey()
    private static let bob = NodeKey()
    private static let carol = NodeKey()
    private static let everybody = [alice, bob, carol]
    private static let first = PacketCipher.RingKey(id: 1, bytes: [UInt8](repeating: 7, count: 32))
    private static let second = PacketCipher.RingKey(id: 2, bytes: [UInt8](repeating: 8, count: 32))
    private static let text = Array("an endpoint came".utf8)

    private static func cipher(
        _ key: NodeKey, peers: [NodeKey] = everybody, ring: [PacketCipher.RingKey] = [first], boot: UInt32 = 1,
        salt: [UInt8] = [1, 2, 3, 4]
    ) -> PacketCipher {
        var cipher = PacketCipher(identity: key, boot: boot, salt: salt)
        cipher.setKeys(ring)
        cipher.setPeers(Dictionary(uniqueKeysWithValues: peers.filter { $0.id != key.id }.map { ($0.id, $0.agreementBytes) }))
        return cipher
    }

    private static func seal(
        _ cipher: inout PacketCipher, _ plaintext: [UInt8] = text, to: NodeKey = bob, on channel: PacketChannel = .datagram
    ) throws -> [UInt8] {
        let packet = cipher.seal(plaintext, to: to.id, on: channel)
        return try #require(packet)
    }

    private static func text(_ cipher: inout PacketCipher, _ packet: [UInt8]) throws(OpenError) -> [UInt8] {
        try cipher.open(packet, on: .datagram).plaintext
    }

    private static func counter(_ packet: [UInt8]) -> UInt64 { packet[24..<32].reduce(0) { $0 << 8 | UInt64($1) } }

    @Test(arguments: [PacketChannel.datagram, .stream], [0, 1, 16, 1152, 65_536])
    func whatIsSealedOpens(channel: PacketChannel, count: Int) throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let packet = try Self.seal(&alice, plaintext, on: channel)
        #expect(packet.count == count + PacketFormat.overhead)
        let opened = try bob.open(packet, on: channel)
        #expect(opened.sender == Self.alice.id && opened.plaintext == plaintext)
        #expect(PacketFormat.sender(of: packet, on: channel) == Self.alice.id)
        let answer = try Self.seal(&bob, plaintext, to: Self.alice, on: channel)
        #expect(try alice.open(answer, on: channel).plaintext == plaintext)
    }

    @Test(arguments: [0, 16])
    func aFlippedBitAnywhereIsNoticed(count: Int) throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let packet = try Self.seal(&alice, Array(Self.text.prefix(count)))
        for bit in 0..<packet.count * 8 {
            var altered = packet
            altered[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: OpenError.self, "bit \(bit)") { try bob.open(altered, on: .datagram) }
        }
        #expect(try bob.open(packet, on: .datagram).plaintext.count == count, "and none of that closed the window")
    }

    @Test func partsOfPacketsDoNotOpen() throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let packet = try Self.seal(&alice)
        for count in 0..<packet.count {
            #expect(throws: OpenError.self) { try bob.open(Array(packet[..<count]), on: .datagram) }
        }
        #expect(throws: OpenError.notAuthentic) { try bob.open(packet + [0], on: .datagram) }
        #expect(throws: OpenError.malformed) { try bob.open([], on: .datagram) }
        #expect(throws: OpenError.malformed) { try bob.open([UInt8](repeating: 0, count: 100), on: .datagram) }
    }

    /// Carol knows all secrets of the cluster, and the public keys of Alice and Bob.
    @Test func noMemberSpeaksAsAnotherOrReadsWhatIsNotForIt() throws {
        var (alice, bob, carol) = (Self.cipher(Self.alice), Self.cipher(Self.bob), Self.cipher(Self.carol))
        var forged = try Self.seal(&carol)
        forged.replaceSubrange(4..<20, with: Self.alice.id.bytes)
        #expect(throws: OpenError.notAuthentic) { try bob.open(forged, on: .datagram) }
        let packet = try Self.seal(&alice)
        #expect(throws: OpenError.notAuthentic) { try carol.open(packet, on: .datagram) }
        // Nor can it be sent back.
        var returned = packet
        returned.replaceSubrange(4..<20, with: Self.bob.id.bytes)
        #expect(throws: OpenError.notAuthentic) { try alice.open(returned, on: .datagram) }
    }

    @Test func strangersAreNamedAndRefused() throws {
        var stranger = Self.cipher(Self.carol)
        var bob = Self.cipher(Self.bob, peers: [Self.alice])
        let packet = try Self.seal(&stranger)
        #expect(throws: OpenError.unknownSender(Self.carol.id)) { try bob.open(packet, on: .datagram) }
        bob.setPeers([Self.carol.id: Self.carol.agreementBytes])
        #expect(try bob.open(packet, on: .datagram).sender == Self.carol.id)
        bob.setPeers([:])
        let next = try Self.seal(&stranger)
        #expect(throws: OpenError.unknownSender(Self.carol.id)) { try bob.open(next, on: .datagram) }
        let sealed = bob.seal(Self.text, to: Self.carol.id, on: .datagram)
        #expect(sealed == nil)
    }

    @Test func aPacketOpensOnce() throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let packet = try Self.seal(&alice)
        _ = try bob.open(packet, on: .datagram)
        #expect(throws: OpenError.replayed) { try bob.open(packet, on: .datagram) }
        // Not even after its sender was removed and came back.
        bob.setPeers([:])
        bob.setPeers([Self.alice.id: Self.alice.agreementBytes])
        #expect(throws: OpenError.replayed) { try bob.open(packet, on: .datagram) }
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func anyOrderWithinTheWindowOpensEachOnce(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let packets = try (0..<1024).map { _ in try Self.seal(&alice) }
        for packet in packets.shuffled(using: &generator) { _ = try bob.open(packet, on: .datagram) }
        for packet in packets { #expect(throws: OpenError.replayed) { try bob.open(packet, on: .datagram) } }
    }

    @Test func whatIsBehindTheWindowIsRefused() throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let packets = try (0..<3000).map { _ in try Self.seal(&alice) }
        _ = try bob.open(packets[1024], on: .datagram)
        #expect(throws: OpenError.replayed) { try bob.open(packets[0], on: .datagram) }
        _ = try bob.open(packets[1], on: .datagram)
        // A leap clears the counters that it skips, and no others.
        _ = try bob.open(packets[2999], on: .datagram)
        #expect(throws: OpenError.replayed) { try bob.open(packets[1975], on: .datagram) }
        _ = try bob.open(packets[1976], on: .datagram)
        #expect(throws: OpenError.replayed) { try bob.open(packets[1976], on: .datagram) }
    }

    /// Compares the window with a set of all counters that were seen.
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
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let datagram = try Self.seal(&alice)
        #expect(throws: OpenError.malformed) { try bob.open(datagram, on: .stream) }
        var renamed = datagram
        renamed[1] = PacketChannel.stream.rawValue
        #expect(throws: OpenError.notAuthentic) { try bob.open(renamed, on: .stream) }
        // Each channel has counters of its own.
        let frame = try Self.seal(&alice, on: .stream)
        #expect(Self.counter(frame) == Self.counter(datagram))
        _ = try bob.open(datagram, on: .datagram)
        _ = try bob.open(frame, on: .stream)
    }

    @Test func laterLivesCountAboveEarlierOnes() throws {
        var last: UInt64 = 0
        for boot in [1, 2, 3, 1000, 0xFF_FFFF] as [UInt32] {
            var cipher = Self.cipher(Self.alice, boot: boot)
            let first = Self.counter(try Self.seal(&cipher, []))
            #expect(first > last, "boot \(boot)")
            last = first + ((1 << 40) - 1)
        }
        // Packets of an earlier life are refused once a later one was heard.
        var old = Self.cipher(Self.alice, boot: 1, salt: [0, 0, 0, 1])
        var new = Self.cipher(Self.alice, boot: 2, salt: [0, 0, 0, 2])
        var bob = Self.cipher(Self.bob)
        var late = try Self.seal(&old)
        _ = try bob.open(try Self.seal(&new), on: .datagram)
        #expect(throws: OpenError.earlierLife(Self.alice.id)) { try bob.open(late, on: .datagram) }
        late[late.count - 1] ^= 1
        #expect(throws: OpenError.notAuthentic) { try bob.open(late, on: .datagram) }
        // So are packets of a node that counts the same life again, from a copy of its state.
        var twin = Self.cipher(Self.alice, boot: 2, salt: [0, 0, 0, 3])
        let again = try Self.seal(&twin)
        #expect(throws: OpenError.earlierLife(Self.alice.id)) { try bob.open(again, on: .datagram) }
        // A node that learns that it is behind continues above.
        for boot in [3, 1] as [UInt32] {
            old.raise(boot: boot)
            _ = try bob.open(try Self.seal(&old), on: .datagram)
        }
    }

    @Test func noNonceIsUsedTwice() throws {
        var alice = Self.cipher(Self.alice)
        var seen: [PacketChannel: Set<UInt64>] = [:]
        for index in 0..<20_000 {
            // Keys and members change meanwhile.
            if index == 10_000 { alice.setKeys([Self.second, Self.first]) }
            let channel: PacketChannel = index % 3 == 0 ? .stream : .datagram
            let packet = try Self.seal(&alice, [], to: index % 2 == 0 ? Self.bob : Self.carol, on: channel)
            let isNew = seen[channel, default: []].insert(Self.counter(packet)).inserted
            #expect(isNew)
        }
        // A life that a restored backup counts twice.
        var twin = Self.cipher(Self.alice, salt: [9, 9, 9, 9])
        var again = Self.cipher(Self.alice)
        let (one, other) = (try Self.seal(&twin), try Self.seal(&again))
        #expect(one[20..<32] != other[20..<32])
    }

    // MARK: Rotation

    /// The first node with the new key is still understood, and the change loses no packet.
    @Test func aNewKeyCostsNoPacket() throws {
        var (alice, bob) = (Self.cipher(Self.alice), Self.cipher(Self.bob))
        let ring = [Self.second, Self.first]
        func exchange(expecting key: PacketCipher.RingKey) throws {
            let packet = try Self.seal(&alice)
            #expect(packet[2] == key.id)
            let text = try Self.text(&bob, packet)
            #expect(text == Self.text)
            let answer = try Self.text(&alice, try Self.seal(&bob, to: Self.alice))
            #expect(answer == Self.text)
        }
        try exchange(expecting: Self.first)
        alice.setKeys(ring)
        // Bob has no other key.
        try exchange(expecting: Self.first)
        try exchange(expecting: Self.first)
        bob.setKeys(ring)
        // Now Bob has the new key, and says so in his next packet.
        try exchange(expecting: Self.first)
        try exchange(expecting: Self.second)
        // The oldest key is dropped.
        alice.setKeys([Self.second])
        try exchange(expecting: Self.second)
    }

    /// A member that was away for long has none of the keys that the others keep.
    @Test func aMemberThatWasAwayForLongIsUnderstood() throws {
        var alice = Self.cipher(Self.alice, ring: [Self.second])
        var bob = Self.cipher(Self.bob)
        let old = try Self.seal(&bob, to: Self.alice)
        #expect(throws: OpenError.unknownKey) { try alice.open(old, on: .datagram) }
        let told = try Self.text(&bob, try Self.seal(&alice))
        #expect(told == Self.text)
        let answer = try Self.text(&alice, try Self.seal(&bob, to: Self.alice))
        #expect(answer == Self.text)
        // It uses the present key as soon as it has it.
        bob.setKeys([Self.second])
        for key in [0, Self.second.id] {
            let packet = try Self.seal(&alice)
            #expect(packet[2] == key)
            let text = try Self.text(&bob, packet)
            let answer = try Self.text(&alice, try Self.seal(&bob, to: Self.alice))
            #expect(text == Self.text && answer == Self.text)
        }
    }

    @Test func withoutAKeyNothingIsSealed() {
        var alice = Self.cipher(Self.alice, ring: [])
        let sealed = alice.seal(Self.text, to: Self.bob.id, on: .datagram)
        #expect(!alice.hasKey && sealed == nil)
        let packet = [2, 1, 0, 0] + Self.bob.id.bytes + [UInt8](repeating: 0, count: 40)
        #expect(throws: OpenError.unknownKey) { try alice.open(packet, on: .datagram) }
    }

    /// A key of low order would give the same secret to everybody (RFC 7748 §6.1).
    @Test func aKeyThatIsNoneSealsNothing() {
        var alice = Self.cipher(Self.alice)
        for key in [[], [UInt8](repeating: 0, count: 32), [1] + [UInt8](repeating: 0, count: 31), [UInt8](repeating: 1, count: 31)]
        {
            alice.setPeers([Self.bob.id: key])
            let sealed = alice.seal(Self.text, to: Self.bob.id, on: .datagram)
            #expect(sealed == nil)
        }
    }
}
