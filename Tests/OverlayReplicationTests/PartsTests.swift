import OverlayModel
import Testing

@testable import OverlayReplication

/// The pieces by themselves: contents and assembly.
@Suite struct PartsTests {
    private static let signing = TestSigning(node: LogNetwork.id(0))

    /// Step by step or at once, in any order: one digest for one state, and another for any other.
    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func theDigestIsOfTheStateAlone(seed: UInt64) {
        var generator = SeededGenerator(seed: seed)
        var contents = LogContents()
        var model: [EndpointID: EndpointRecord] = [:]
        var roots: [[UInt8]: [EndpointID: EndpointRecord]] = [:]
        for _ in 0..<300 {
            let record = LogNetwork.record(
                Int.random(in: 0..<60, using: &generator), version: Int.random(in: 0..<2, using: &generator))
            let before = contents
            let changes: [LogChange]
            switch Int.random(in: 0..<12, using: &generator) {
            case 0:
                changes = [.detach, .endpoint(record)]
                model = [record.endpoint: record]
            case 1...4:
                changes = [.gone(record.endpoint)]
                model[record.endpoint] = nil
            default:
                changes = [.endpoint(record)]
                model[record.endpoint] = record
            }
            let differences = contents.apply(changes, signing: Self.signing)
            let root = contents.root(Self.signing)
            let sorted = model.values.sorted { $0.endpoint < $1.endpoint }
            #expect(contents.records == sorted && contents.count == sorted.count)
            #expect(
                LogContents(sorted.map { DividedRecord($0) }, attachment: nil, signing: Self.signing).root(Self.signing) == root)
            #expect(roots.updateValue(model, forKey: root) ?? model == model)
            // The reported changes of a step, and between any two states, lead from one to the other.
            #expect(Self.play(differences, on: before) == model)
            #expect(Self.play(before.differences(to: contents), on: before) == model)
            #expect(contents.record(of: record.endpoint) == model[record.endpoint])
        }
        #expect(roots.count > 50)
    }

    private static func play(_ differences: [LogDifference], on contents: LogContents) -> [EndpointID: EndpointRecord] {
        var live = Dictionary(uniqueKeysWithValues: contents.records.map { ($0.endpoint, $0) })
        for difference in differences {
            switch difference {
            case .changed(let record, let old): if live.updateValue(record, forKey: record.endpoint) != old { return [:] }
            case .gone(let record): if live.removeValue(forKey: record.endpoint) != record { return [:] }
            case .attached, .detached, .claimed: break
            }
        }
        return live
    }

    @Test func theDigestHoldsTheAttachment() {
        var contents = LogContents()
        let empty = contents.root(Self.signing)
        #expect(contents.apply([.attach(LogNetwork.attachment(0))], signing: Self.signing).count == 1)
        let attached = contents.root(Self.signing)
        #expect(contents.apply([.attach(LogNetwork.attachment(0))], signing: Self.signing).isEmpty)
        #expect(contents.apply([.attach(LogNetwork.attachment(0, mtu: 70))], signing: Self.signing).count == 1)
        let other = contents.root(Self.signing)
        #expect(Set([empty, attached, other]).count == 3)
        #expect(contents.apply([.detach], signing: Self.signing) == [.detached(LogNetwork.attachment(0, mtu: 70))])
        #expect(contents.root(Self.signing) == empty)
    }

    /// A copy on which a bad batch was tried costs no records: buckets that the batch does not touch are shared, and the original
    /// is unchanged.
    @Test func aBatchIsTriedOnACopy() throws {
        var world = LogNetwork(count: 2, seed: 1)
        world.subscribeAll()
        for number in 0..<100 { world.put(number) }
        world.run(for: .seconds(1))
        let key = LogKey(network: LogNetwork.network, owner: LogNetwork.id(0))
        var log = try #require(world.nodes[1].networks[key.network]?.remotes[key.owner]?.log)
        let before = (log.root, log.contents.records, log.position)
        let batch = SignedBatch(
            network: key.network, owner: key.owner, life: 1, after: log.position.sequence, changes: [.detach],
            signature: Array(repeating: 0, count: 64))
        var thrown: Rejection?
        do throws(Rejection) {
            _ = try log.accept(batch, [1, 0], publicKey: TestSigning.key(of: key.owner), signing: Self.signing)
        } catch {
            thrown = error
        }
        #expect(thrown == .badSignature)
        #expect(log.root == before.0 && log.contents.records == before.1 && log.position == before.2)
        #expect(log.contents.root(Self.signing) == before.0)
    }

    /// Never more than a window is under way, and all is asked for.
    @Test(arguments: [0, 0.5])
    func assemblyAsksForAWindow(loss: Double) throws {
        var generator = SeededGenerator(seed: 1)
        var log = OwnerLog(
            own: LogKey(network: LogNetwork.network, owner: LogNetwork.id(0)), at: LogPosition(life: 1, sequence: 1),
            signing: Self.signing)
        log.extend((0..<1000).map { .endpoint(LogNetwork.record($0)) }, signing: Self.signing)
        let parts = log.snapshot(at: Instant(nanoseconds: 0)).parts.compactMap { bytes -> SnapshotPart? in
            if case .part(let part) = try? ReplicationMessage(wire: bytes) { part } else { nil }
        }
        #expect(parts.count > 100)
        var assembly = Assembly(parts[0], from: LogNetwork.id(1))
        #expect(assembly.take(parts[0]) == .new)
        #expect(assembly.take(parts[0]) == .known)
        var steps = 0
        var underWay = assembly.requests(again: false)
        #expect(underWay.map(\.count) == [16, 16])
        while !assembly.isComplete, steps < 1000 {
            steps += 1
            let asked = underWay.flatMap { Int($0.first)..<Int($0.first) + Int($0.count) }
            #expect(asked.count <= Assembly.window && Set(asked).count == asked.count)
            underWay = []
            for index in asked where Double.random(in: 0..<1, using: &generator) >= loss {
                #expect(assembly.take(parts[index]) == .new)
                underWay += assembly.requests(again: false)
            }
            if underWay.isEmpty, !assembly.isComplete { underWay = assembly.requests(again: true) }
        }
        let built = try #require(assembly.log(Self.signing))
        #expect(built.root == log.root && built.contents.records == log.contents.records)
        var broken = parts[1]
        broken.total += 1
        var other = Assembly(parts[0], from: LogNetwork.id(1))
        #expect(other.take(broken) == .broken)
        #expect(other.log(Self.signing) == nil)
    }
}
