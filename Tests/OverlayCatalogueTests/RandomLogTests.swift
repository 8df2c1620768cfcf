import OverlayModel
import OverlayTestSupport
import Testing

@testable import OverlayCatalogue

/// Random entries, sensible and not, over subnets at the edges of both families.
@Suite struct RandomLogTests {
    private static let prefixes = [
        "0.0.0.0/1", "128.0.0.0/2", "255.255.255.0/24", "255.255.255.254/31", "255.255.255.255/32", "10.0.0.0/24", "10.0.0.0/30",
        "10.0.0.4/31", "10.0.0.6/32", "10.0.1.0/29", "10.32.0.0/24", "10.32.0.0/16", "172.16.0.0/28", "::/1", "8000::/1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:0/112", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127", "fd00::/64", "fd00::/126",
        "fd00::4/127",
        "fd00::6/128", "fd00:0:0:1::/80", "::/0", "0.0.0.0/0", "10.0.0.1/24",
    ].map { IPPrefix($0)! }

    private struct Source {
        var generator: SeededGenerator

        mutating func pick<T>(_ values: [T]) -> T? { values.randomElement(using: &generator) }
        mutating func chance(_ percent: Int) -> Bool { Int.random(in: 0..<100, using: &generator) < percent }

        mutating func address(near prefix: IPPrefix) -> IPAddress {
            let offset = UInt128(generator.next(upperBound: 24 as UInt64))
            return switch generator.next(upperBound: 4 as UInt64) {
            case 0: IPAddress(family: prefix.family, bits: prefix.last.bits &- offset)
            case 1: IPAddress(family: prefix.family, bits: prefix.first.bits &- 2 &+ offset)
            case 2: IPAddress(family: prefix.family == .v4 ? .v6 : .v4, bits: prefix.first.bits)
            default: IPAddress(family: prefix.family, bits: prefix.first.bits &+ offset)
            }
        }

        mutating func range(in prefix: IPPrefix) -> IPPrefix? {
            guard chance(30) else { return nil }
            let length = Int.random(in: prefix.length...prefix.family.bitWidth, using: &generator)
            let inside = IPPrefix(address(near: prefix), length: chance(80) ? length : prefix.length)
            return chance(80) ? inside?.network : inside
        }

        mutating func command(on catalogue: Catalogue) -> Command {
            let subnets = catalogue.networkOfSubnet.keys.sorted()
            let id = chance(95) ? pick(subnets) ?? SubnetID(1) : SubnetID(generator.next())
            let prefix = catalogue.subnet(id)?.prefix ?? RandomLogTests.prefixes[0]
            switch Int.random(in: 0..<100, using: &generator) {
            case ..<22:
                let asked = chance(70) ? pick(RandomLogTests.prefixes) : nil
                return .openSubnet(
                    OpenSubnet(
                        networkName: chance(50) ? pick(["a", "b", "c", ""]) : nil,
                        family: asked.map { chance(95) ? $0.family : .v6 } ?? (chance(50) ? .v4 : .v6),
                        prefix: asked, range: asked.flatMap { range(in: $0) }))
            case ..<32: return .closeSubnet(id)
            case ..<40:
                return .configure(
                    catalogue.networkOfSubnet[id] ?? NetworkID(bits: 1),
                    adopting: chance(50) ? Array(subnets.shuffled(using: &generator).prefix(2)) : [],
                    NetworkSettings(mtu: chance(80) ? nil : 1400))
            case ..<46: return .setGateway(id, address(near: prefix))
            case ..<54: return .reserve(id, address(near: prefix))
            case ..<76: return .claimBlock(id, count: pick([0, 1, 2, 7, 16, 17, 256, .max]) ?? 0)
            case ..<89: return .claimAddress(id, address(near: prefix))
            case ..<94:
                let index = Int.random(in: 0..<6, using: &generator)
                return .admit(Fixture.member(index, name: chance(80) ? nil : "host-1", epoch: chance(90) ? 1 : 0))
            case ..<96: return .endQuarantine([Fixture.node(Int.random(in: 0..<6, using: &generator))])
            case ..<98: return .remove(Fixture.node(Int.random(in: 0..<6, using: &generator)), now: Bool.random(using: &generator))
            case ..<99:
                return chance(50)
                    ? .initialise(Fixture.cluster(), Fixture.member(1))
                    : .promote(after: chance(80) ? catalogue.term : Term(number: 1, writer: Fixture.node(3)))
            default: return .setJoinSecret(Fixture.secret(4, count: chance(50) ? 16 : 5))
            }
        }
    }

    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func everyStateHoldsWhatMustHold(seed: UInt64) throws {
        var source = Source(generator: SeededGenerator(seed: seed))
        var fixture = Fixture(members: 4)
        var sequences: [Int: UInt64] = [:]
        var accepted = 0
        for step in 0..<1500 {
            let command = source.command(on: fixture.catalogue)
            let index = Int.random(in: 0..<5, using: &source.generator)
            // An old or repeated proposal now and then.
            if source.chance(95) { sequences[index, default: 100] += 1 }
            // Encoded and decoded, as it reaches every replica.
            let sent = try Command(wire: command.wireBytes)
            let result = fixture.propose(
                sent, by: index, epoch: source.chance(97) ? 1 : 2, sequence: sequences[index, default: 100])
            if result.refusal == nil { accepted += 1 }
            let violations = fixture.catalogue.violations
            guard violations.isEmpty else {
                Issue.record("seed \(seed), step \(step), \(command) → \(result): \(violations)")
                return
            }
            if step % 100 == 99 {
                let bytes = fixture.catalogue.wireBytes
                let copy = try Catalogue(wire: bytes)
                #expect(copy == fixture.catalogue && copy.wireBytes == bytes, "seed \(seed), step \(step)")
            }
        }
        #expect(accepted > 250, "the commands were mostly senseless: \(accepted)")
        var replica = Catalogue()
        for entry in fixture.log { replica.apply(entry) }
        #expect(replica.wireBytes == fixture.catalogue.wireBytes, "seed \(seed)")
    }

    /// The same entries with bytes altered on the way. Those that decode are applied, and nothing traps.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func alteredCommandsNeverTrap(seed: UInt64) {
        var source = Source(generator: SeededGenerator(seed: seed))
        var fixture = Fixture(members: 4)
        for step in 0..<3000 {
            var bytes = source.command(on: fixture.catalogue).wireBytes
            bytes[Int.random(in: bytes.indices, using: &source.generator)] = source.generator.next()
            guard let command = try? Command(wire: bytes) else { continue }
            fixture.propose(command, by: Int.random(in: 0..<4, using: &source.generator))
            if step % 10 == 0 { #expect(fixture.catalogue.violations == [], "seed \(seed), step \(step)") }
        }
        #expect(decode(Catalogue.self, fixture.catalogue.wireBytes) == .value(fixture.catalogue))
    }
}
