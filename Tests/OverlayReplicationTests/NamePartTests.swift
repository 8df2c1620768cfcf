import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayReplication

/// Endpoints with more names than a datagram takes.
@Suite struct NamePartTests {
    private static let endpoint = LogNetwork.record(1).endpoint

    private static func record(_ names: some Sequence<String>) -> EndpointRecord {
        var record = LogNetwork.record(1)
        record.names = EndpointNames(names: Array(names))
        return record
    }

    private static func many(_ numbers: some Sequence<Int>) -> [String] { numbers.map { "alias-number-\($0).of.a.shop" } }

    private func put(_ record: EndpointRecord, _ world: inout LogNetwork) {
        world.act(0) { [now = world.now] in $0.put(record, on: LogNetwork.network, now: now, into: &$1) }
    }

    private func names(_ world: LogNetwork, at index: Int) -> [String] {
        world.live(of: 0, at: index)[Self.endpoint]?.names.names ?? []
    }

    @Test(arguments: [0, 0.3]) func allNamesArrive(loss: Double) {
        var world = LogNetwork(count: 3, seed: 3)
        world.wires.loss = loss
        world.subscribeAll()
        world.run(for: .seconds(1))
        let all = Self.many(0..<Limits.namesPerEndpoint)
        put(Self.record(all), &world)
        world.run(for: .seconds(5))
        for index in 0...2 { #expect(Set(names(world, at: index)) == Set(all) && names(world, at: index).first == all[0]) }
        world.expectEqual()
        // A new name is first at once, and no other is away meanwhile.
        let renamed = ["renamed-with-a-rather-long-name"] + all.dropFirst()
        put(Self.record(renamed), &world)
        for _ in 0..<200 {
            world.run(for: .microseconds(50))
            for index in 0...2 { #expect(Set(names(world, at: index)).isSuperset(of: all.dropFirst())) }
        }
        world.run(for: .seconds(5))
        for index in 0...2 { #expect(Set(names(world, at: index)) == Set(renamed) && names(world, at: index).first == renamed[0]) }
        // Fewer, so that all fit the record again.
        put(Self.record(renamed.prefix(5)), &world)
        world.run(for: .seconds(5))
        for index in 0...2 { #expect(names(world, at: index) == Array(renamed.prefix(5))) }
        world.remove(1)
        world.run(for: .seconds(5))
        for index in 1...2 { #expect(world.told[index].isEmpty) }
        world.expectEqual()
    }

    @Test func aSnapshotHoldsAllNames() {
        var world = LogNetwork(count: 3, seed: 1)
        let all = Self.many(0..<300)
        world.subscribe(0, to: Set((0..<3).map(LogNetwork.id)))
        for number in 2..<40 { world.put(number) }
        put(Self.record(all), &world)
        world.subscribeAll()
        world.run(for: .seconds(2))
        #expect(world.messages(from: 0).contains { $0.isPart })
        for index in 1...2 { #expect(Set(names(world, at: index)) == Set(all)) }
        world.expectEqual()
    }

    /// Any names after any others: what is put is what is there, each piece has room, and a name that stays is never away.
    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func whatIsPutIsThere(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        var pieces: DividedRecord?
        for _ in 0..<20 {
            let count = Int.random(in: 0...(Bool.random(using: &generator) ? 30 : Limits.namesPerEndpoint), using: &generator)
            let long = String(repeating: "x", count: Int.random(in: 0...40, using: &generator))
            let wanted = Self.record(
                (0..<count).map { _ in "n\(Int.random(in: 0..<3000, using: &generator))\(long)" } + Self.many(0..<count / 2))
            let stay = Set(pieces?.whole.names.names ?? []).intersection(wanted.names.names)
            for change in DividedRecord.changes(from: pieces, to: wanted) {
                #expect(change.wireBytes.count <= Budget.batch && (try? LogChange(wire: change.wireBytes)) == change)
                _ = contents.apply([change], signing: signing)
                #expect(stay.isSubset(of: contents.record(of: Self.endpoint)?.names.names ?? []))
            }
            pieces = contents.pieces(of: Self.endpoint)
            let whole = contents.record(of: Self.endpoint)
            #expect(
                Set(whole?.names.names ?? []) == Set(wanted.names.names) && whole?.names.names.first == wanted.names.names.first)
            #expect(contents.partCount == pieces?.parts.count)
            #expect(DividedRecord.changes(from: pieces, to: wanted).isEmpty)
            let put = pieces.map { DividedRecord.all([$0.first], $0.sortedParts) }
            #expect(put == [pieces].compactMap(\.self))
            if let parts = pieces?.sortedParts, !parts.isEmpty { #expect(DividedRecord.all([], parts) == nil) }
        }
    }

    /// A member that tells of more than an endpoint may have is not let take memory without end.
    @Test func partsWithoutEndAreNotTaken() throws {
        let signing = TestSigning(node: LogNetwork.id(0))
        var contents = LogContents()
        _ = contents.apply([.endpoint(LogNetwork.record(1))], signing: signing)
        for number in 0..<UInt8(Limits.namePartsPerEndpoint) {
            let names = (0..<Limits.namesPerPart).map { "\(number)-\($0)" }
            _ = contents.apply([.names(NamePart(endpoint: Self.endpoint, number: number, names: names))], signing: signing)
        }
        #expect(contents.partCount == 2 * Limits.namesPerEndpoint / Limits.namesPerPart)
        #expect(contents.record(of: Self.endpoint)?.names.names.count == contents.partCount * Limits.namesPerPart)
        // They mean nothing where the endpoint is not known.
        let stranger = NamePart(endpoint: LogNetwork.record(9).endpoint, number: 0, names: ["a"])
        let before = contents.root(signing)
        #expect(contents.apply([.names(stranger), .namesGone(stranger.endpoint, 0)], signing: signing).isEmpty)
        #expect(contents.root(signing) == before)
    }
}
