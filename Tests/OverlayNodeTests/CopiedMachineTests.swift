import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// A copy of a whole machine, with its state and its machine id, at another address: members answer the original.
@Suite struct CopiedMachineTests {
    /// Node without peers: its disk and its kernel do what it asks, and nobody answers.
    private struct Lonely {
        var node: Node
        var now = Instant(nanoseconds: 0)
        var answers: [RequestID: ControlResponse] = [:]

        mutating func handle(_ first: NodeEvent) {
            var events = [first]
            while !events.isEmpty {
                for effect in node.handle(events.removeFirst(), at: now) {
                    switch effect {
                    case .store(let id, _): events.append(.stored(id, .stored))
                    case .apply(let id, _): events.append(.applied(id, .applied))
                    case .observe(let id, _): events.append(.observed(id, ObservedState()))
                    case .answer(let id, let response): answers[id] = response
                    default: break
                    }
                }
            }
        }

        mutating func run(for time: Interval) {
            let end = now + time
            while now < end {
                now = now + .milliseconds(50)
                handle(.tick)
            }
        }
    }

    private func copy(at address: String, of index: Int = 1) throws -> Lonely {
        let world = try World(count: 3)
        try #require(world.makeCluster())
        world.run(for: .seconds(1))
        var identity = world.nodes[index].core.identity
        identity.address = try #require(IPAddress(address))
        identity.boot += 1
        let node = try Node(
            identity: identity, rows: world.nodes[index].rows, signing: VirtualSigning(key: identity.publicKey), seed: 5)
        var copy = Lonely(node: node)
        copy.handle(.start)
        copy.run(for: .seconds(70))
        return copy
    }

    @Test func itSaysThatAnotherHostHasItsIdentity() throws {
        var copy = try copy(at: "198.51.100.9")
        let known = try #require(copy.node.catalogue.members[copy.node.identity.id])
        copy.handle(.control(RequestID(1), .status))
        guard case .status(let status) = copy.answers[RequestID(1)] else { throw World.Failed("status") }
        let text = try #require(status.problems.first)
        #expect(text.contains("another host runs with the identity of this node (host2, "), "\(status.problems)")
        #expect(text.contains("\(known.address):\(DefaultPort.nodes)") && text.contains("198.51.100.9:\(DefaultPort.nodes)"))
        #expect(!status.problems.contains { $0.contains("swift-overlay promote") }, "\(status.problems)")
        copy.handle(.control(RequestID(2), .promote(force: false)))
        guard case .refused(let reason) = copy.answers[RequestID(2)] else { throw World.Failed("promoted") }
        #expect(reason.contains("another host runs with the identity"), "\(reason)")
    }

    /// A host that nobody answers at the address that all know is not taken for a copy.
    @Test func aHostThatIsCutOffIsNoCopy() throws {
        var lonely = try copy(at: "192.0.2.2")
        lonely.handle(.control(RequestID(1), .status))
        guard case .status(let status) = lonely.answers[RequestID(1)] else { throw World.Failed("status") }
        #expect(status.problems.contains { $0.contains("swift-overlay promote") }, "\(status.problems)")
        #expect(!status.problems.contains { $0.contains("another host runs") })
    }
}
