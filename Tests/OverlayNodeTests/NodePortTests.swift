import OverlayCatalogue
import OverlayDatapath
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Ports by which nodes reach one another: the default, and those of clusters that were made on another.
@Suite struct NodePortTests {
    private static let id = NodeID(bits: 7)

    private static func member(_ port: UInt16, id: NodeID = Self.id) -> Member {
        let address = IPAddress(v4: 192, 0, 2, UInt8(truncatingIfNeeded: id.bits))
        return Member(
            id: id, name: "host-\(id.bits)", address: address, port: port, vtep: address,
            publicKey: [UInt8](repeating: UInt8(truncatingIfNeeded: id.bits), count: 32),
            agreementKey: [UInt8](repeating: UInt8(truncatingIfNeeded: id.bits), count: 32), epoch: 1)
    }

    /// Stored rows of the first node of a cluster.
    private static func rows(_ port: UInt16) throws -> StoredRows {
        let cluster = Cluster(
            id: ClusterID(bits: 1), writer: id, addressPool: try #require(IPPrefix("10.32.0.0/12")), subnetLength: 24,
            dataPathPort: DefaultPort.vxlan, rootKey: [UInt8](repeating: 1, count: 32),
            rootPublicKey: [UInt8](repeating: 1, count: 32), gossipKey: [UInt8](repeating: 1, count: 32),
            joinSecret: JoinSecret(secret: [UInt8](repeating: 2, count: 16), expires: 0))
        var node = try CatalogueNode(node: id, epoch: 1, boot: 1, rows: [:])
        var effects: [CatalogueNode.Effect] = []
        node.initialise(cluster, member: member(port), into: &effects)
        var rows: StoredRows = [:]
        for case .store(_, let writes) in effects { rows.apply(writes) }
        return rows
    }

    @Test func anotherPortThanThatOfSwarmIsTheDefault() {
        #expect(DefaultPort.nodes == 7947)
        #expect(DefaultPort.nodesBefore == 7946)
    }

    @Test func aNewNodeListensOnTheDefaultPort() throws {
        #expect(try NodePort.listening(given: nil, node: Self.id, rows: [:]) == [7947])
        #expect(try NodePort.listening(given: nil, node: Self.id, rows: try Self.rows(7947)) == [7947])
        // Nothing follows for a node that is no member.
        #expect(try NodePort.listening(given: nil, node: NodeID(bits: 8), rows: try Self.rows(7946)) == [7947])
    }

    @Test(arguments: [UInt16(7946), 9000])
    func aMemberKeepsThePortOfItsCluster(port: UInt16) throws {
        #expect(try NodePort.listening(given: nil, node: Self.id, rows: try Self.rows(port)) == [port, 7947])
    }

    @Test func aPrivilegedPortIsTakenFromTheUserAlone() throws {
        #expect(try NodePort.listening(given: nil, node: Self.id, rows: try Self.rows(22)) == [7947])
        #expect(try NodePort.listening(given: 443, node: Self.id, rows: try Self.rows(443)) == [443])
    }

    @Test func aPortThatTheUserGaveIsTheOnlyOne() throws {
        for rows in [[:], try Self.rows(7946)] as [StoredRows] {
            for port in [UInt16(7946), 7947, 9000] {
                #expect(try NodePort.listening(given: port, node: Self.id, rows: rows) == [port])
            }
        }
    }

    @Test func rowsThatDoNotDecodeAreNotPassedOver() throws {
        #expect(throws: DecodeError.self) {
            try NodePort.listening(given: nil, node: Self.id, rows: [.catalogueSnapshot: [[0]: [1, 2, 3]]])
        }
    }

    @Test func theJoinCommandTellsThePort() throws {
        let world = try World(count: 2)
        #expect(world.makeCluster())
        guard case .token(let report) = world.control(0, .joinToken(newSecret: nil)) else { throw World.Failed("no token") }
        #expect(report.command == "swift-overlay join --token \(report.token) 192.0.2.1:7947")
    }

    // MARK: join

    /// A node by itself, whose disk and kernel always do what it asks.
    private struct Lone {
        var node: Node
        var contacts: [JoinContact] = []
        var answers: [ControlResponse] = []
        private var at = Instant(nanoseconds: 0)

        init(port: UInt16) throws {
            let identity = NodeIdentity(
                id: NodePortTests.id, name: "lone", publicKey: [UInt8](repeating: 9, count: 32),
                agreementKey: [UInt8](repeating: 9, count: 32), epoch: 1, boot: 1, address: IPAddress(v4: 192, 0, 2, 9), port: port,
                vtep: IPAddress(v4: 192, 0, 2, 9), underlayMTU: 1500, routes: [])
            node = try Node(identity: identity, rows: [:], signing: VirtualSigning(key: identity.publicKey), seed: 1)
            handle(.start)
        }

        mutating func handle(_ event: NodeEvent) {
            at = at + .milliseconds(1)
            for effect in node.handle(event, at: at) {
                switch effect {
                case .store(let id, _): handle(.stored(id, .stored))
                case .observe(let id, _): handle(.observed(id, ObservedState()))
                case .contact(_, let contact): contacts.append(contact)
                case .answer(_, let answer): answers.append(answer)
                default: break
                }
            }
        }

        /// Joins a cluster whose members have these ports.
        mutating func join(_ port: UInt16?, membersOn ports: [UInt16]) throws {
            let token = JoinToken(pin: [UInt8](repeating: 1, count: JoinToken.pinBytes), secret: [UInt8](repeating: 2, count: 16))
            handle(.control(RequestID(1), .join(token: token.description, host: "first", port: port)))
            let asked = try #require(contacts.first)
            let log = try CatalogueNode(node: NodePortTests.id, epoch: 1, boot: 1, rows: try NodePortTests.rows(ports[0])).catalogue
            var cluster = Catalogue()
            let founder = NodePortTests.member(ports[0], id: NodeID(bits: 100))
            var settings = try #require(log.cluster)
            settings.writer = founder.id
            let commands =
                [.initialise(settings, founder)]
                + ports.dropFirst().enumerated().map {
                    Command.admit(NodePortTests.member($0.element, id: NodeID(bits: UInt128(101 + $0.offset))))
                } + [.admit(asked.member)]
            for (index, command) in commands.enumerated() {
                cluster.apply(
                    Entry(
                        index: UInt64(index + 1), termNumber: 1, proposer: founder.id, epoch: 1, sequence: UInt64(index + 1),
                        command: command))
            }
            handle(.joinAnswer(RequestID(1), .admitted(cluster)))
        }
    }

    @Test func withoutAPortBothThatAMemberMayHaveAreTried() throws {
        for (given, ports) in [(nil, [7947, 7946]), (7946, [7946]), (7947, [7947]), (9, [9])] as [(UInt16?, [UInt16])] {
            var lone = try Lone(port: 7947)
            try lone.join(given, membersOn: [7946])
            #expect(lone.contacts.map(\.ports) == [ports])
        }
    }

    @Test(
        arguments: [
            ([7947], ""), ([7946, 7947], ""),
            (
                [7946],
                " It listens on port 7947, and the others on 7946: open all of them between the hosts, TCP and UDP, or give this daemon "
                    + "another port (--listen-addr 0.0.0.0:7946)."
            ),
        ] as [([UInt16], String)])
    func aNewHostOfAClusterOnAnotherPortIsToldSo(ports: [UInt16], hint: String) throws {
        var lone = try Lone(port: 7947)
        try lone.join(nil, membersOn: ports)
        guard case .done(let text)? = lone.answers.first else { throw World.Failed("\(lone.answers)") }
        #expect(text == "This node joined cluster \(lone.node.clusterName) as lone.\(hint)")
    }
}
