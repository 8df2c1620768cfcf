public import OverlayModel

@testable public import OverlayCatalogue

/// A catalogue with at least one object of every kind, as a seed.
public enum CatalogueSamples {
    public static let writer = NodeID(bits: 1 << 64 | 1)
    public static let other = NodeID(bits: 2 << 64 | 2)

    public static func member(_ id: NodeID, _ name: String, _ last: UInt8, routes: [String] = []) -> Member {
        Member(
            id: id, name: name, address: IPAddress(v4: 192, 0, 2, last), port: 7947, vtep: IPAddress(v4: 198, 51, 100, last),
            publicKey: [UInt8](repeating: last, count: 32), agreementKey: [UInt8](repeating: last, count: 32), epoch: 1,
            routes: routes.compactMap { IPPrefix($0) })
    }

    public static let members = [member(writer, "one", 1), member(other, "two", 2, routes: ["10.32.0.0/24", "192.168.0.0/16"])]

    static let cluster = Cluster(
        id: ClusterID(bits: 0xC1 << 120), writer: writer, addressPool: IPPrefix("10.32.0.0/12")!, subnetLength: 24,
        dataPathPort: 4789, rootKey: [UInt8](repeating: 5, count: 32), rootPublicKey: [UInt8](repeating: 6, count: 32),
        gossipKey: [UInt8](repeating: 7, count: 32), joinSecret: secret(9))

    private static func secret(_ value: UInt8) -> JoinSecret {
        JoinSecret(secret: [UInt8](repeating: value, count: 16), expires: 1_800_000_000)
    }

    private static func open(
        _ name: String?, _ family: IPAddress.Family, _ prefix: String? = nil, range: String? = nil
    ) -> Command {
        .openSubnet(
            OpenSubnet(
                networkName: name, family: family, prefix: prefix.flatMap { IPPrefix($0) }, range: range.flatMap { IPPrefix($0) }))
    }

    /// Subnet by the order in which it was opened.
    private static func pool(_ number: UInt64) -> SubnetID {
        SubnetID(Catalogue.firstSubnet(of: cluster.id).value + number)
    }

    /// Commands with their proposers. The resulting state has members, networks and blocks, and refusals among its sessions.
    private static var commands: [(NodeID, Command)] {
        [
            (writer, .initialise(cluster, members[0])),
            (writer, .admit(members[1])),
            (writer, open("web", .v4, "10.0.0.0/24", range: "10.0.0.128/25")),
            (writer, open(nil, .v6)),
            (other, open("web", .v4, "10.0.0.0/24")),
            (other, open(nil, .v4)),
            (writer, .setGateway(pool(0), IPAddress("10.0.0.2")!)),
            (writer, .reserve(pool(0), IPAddress("10.0.0.7")!)),
            (writer, .claimBlock(pool(0), count: 16)),
            (other, .claimBlock(pool(0), count: 3)),
            (other, .claimAddress(pool(0), IPAddress("10.0.0.9")!)),
            (other, .giveBack(pool(0), AddressRange(IPAddress("10.0.0.9")!))),
            (other, .move(pool(0), IPAddress("10.0.0.9")!, to: NodeID(bits: 1), epoch: 1)),
            (other, .claimBlock(pool(98), count: 16)),
            (writer, .claimBlock(pool(1), count: 1)),
            (writer, .setJoinSecret(secret(3))),
            (writer, .rotateKey([UInt8](repeating: 4, count: 32))),
        ]
    }

    private static let history: (entries: [Entry], catalogue: Catalogue) = {
        var entries: [Entry] = []
        var catalogue = Catalogue()
        func add(_ proposer: NodeID, _ command: Command) {
            let index = catalogue.index + 1
            let entry = Entry(index: index, termNumber: 1, proposer: proposer, epoch: 1, sequence: index, command: command)
            catalogue.apply(entry)
            entries.append(entry)
        }
        for (proposer, command) in commands { add(proposer, command) }
        if let network = catalogue.networkOfSubnet[pool(0)] {
            add(writer, .configure(network, adopting: [pool(1)], NetworkSettings(mtu: 1400, isEncrypted: true)))
            let description = NetworkDescription(
                name: "shop", labels: ["a": "b"], options: ["c": "d"], ipamOptions: ["net": "e"], auxiliary: ["f": "10.0.0.9"],
                isIPv6: true, isAttachable: true)
            if let description { add(writer, .describe(network, description)) }
        }
        return (entries, catalogue)
    }()

    /// Log from its first entry.
    public static var entries: [Entry] { history.entries }
    /// Catalogue that the log leads to.
    public static var catalogue: Catalogue { history.catalogue }
    /// Entries that remove and close objects.
    public static var endings: [Entry] {
        [
            (other, Command.closeSubnet(pool(0), removing: true)), (writer, .remove(other, now: false)),
            (writer, .endQuarantine([other])), (writer, .admit(members[0].telling(.present))), (writer, .raise(to: 3)),
        ].enumerated()
            .map {
                Entry(
                    index: catalogue.index + UInt64($0) + 1, termNumber: 1, proposer: $1.0, epoch: 1, sequence: 100 + UInt64($0),
                    command: $1.1)
            }
    }
}
