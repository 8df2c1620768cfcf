import OverlayModel
import Testing

@testable import OverlayDatapath

/// Rows of claims, which come on top of those of endpoints.
@Suite struct ClaimRowTests {
    private static let vni = VNI(1_048_576)!
    private static let base = NetworkState.Base(vni: vni, local: IPAddress(v4: 192, 0, 2, 1), port: 4789, mtu: 1450)
    private static let vip = IPAddress(v4: 10, 0, 0, 200)
    private static let leased = IPAddress(v4: 10, 0, 0, 9)
    private static let one = MACAddress("02:42:0a:00:00:01")!
    private static let other = MACAddress("02:42:0a:00:00:02")!
    private static let virtual = MACAddress("00:00:5e:00:01:33")!
    private static let far = IPAddress(v4: 192, 0, 2, 3)

    private static func raised() -> Datapath {
        var datapath = Datapath()
        _ = datapath.raise(base, gateways: [])
        _ = datapath.addPort("ve1", Port(containerLink: "so1", mac: one), addresses: [leased], on: vni)
        _ = datapath.locate(other, .vtep(far), addresses: [], on: vni)
        return datapath
    }

    /// Containers may have learned the address by asking, before it was claimed. So the first change is announced, too.
    @Test func everyChangeOfAnAddressIsAnnounced() {
        var datapath = Self.raised()
        #expect(
            datapath.claim(Self.vip, Self.one, on: Self.vni) == [
                .setNeighbour(Self.vni, Self.vip, Self.one), .announce(Self.vni, Self.vip, Self.one),
            ])
        #expect(datapath.claim(Self.vip, Self.one, on: Self.vni) == [])
        #expect(
            datapath.claim(Self.vip, Self.other, on: Self.vni) == [
                .setNeighbour(Self.vni, Self.vip, Self.other), .announce(Self.vni, Self.vip, Self.other),
            ])
        #expect(datapath.claim(Self.vip, nil, on: Self.vni) == [.deleteNeighbour(Self.vni, Self.vip)])
        #expect(!datapath.hasEndpoint(Self.vip, on: Self.vni) && datapath.hasEndpoint(Self.leased, on: Self.vni))
        #expect(datapath.wanted(Self.vni) == Self.raised().wanted(Self.vni))
    }

    @Test func aMACMovesWithOneRow() {
        var datapath = Self.raised()
        let port = Destination.port("ve1")
        #expect(datapath.claim(Self.virtual, port, on: Self.vni) == [.setForwarding(Self.vni, Self.virtual, port)])
        #expect(
            datapath.claim(Self.virtual, .vtep(Self.far), on: Self.vni) == [.setForwarding(Self.vni, Self.virtual, .vtep(Self.far))]
        )
        #expect(
            datapath.claim(Self.virtual, nil, on: Self.vni) == [.deleteForwarding(Self.vni, Self.virtual, .vtep(Self.far))])
        #expect(!datapath.hasClaims(on: Self.vni))
    }

    /// A container that changes its own MAC keeps its address.
    @Test func aLeasedAddressIsAtAnotherMACOfItsEndpoint() {
        var datapath = Self.raised()
        _ = datapath.claim(Self.virtual, .port("ve1"), on: Self.vni)
        #expect(
            datapath.claim(Self.leased, Self.virtual, on: Self.vni) == [
                .setNeighbour(Self.vni, Self.leased, Self.virtual), .announce(Self.vni, Self.leased, Self.virtual),
            ])
        #expect(datapath.wanted(Self.vni)?.neighbours[Self.leased] == Self.virtual)
        #expect(
            datapath.claim(Self.leased, nil, on: Self.vni) == [
                .setNeighbour(Self.vni, Self.leased, Self.one), .announce(Self.vni, Self.leased, Self.one),
            ])
        // The endpoint goes first.
        _ = datapath.claim(Self.leased, Self.virtual, on: Self.vni)
        let operations = datapath.removePort("ve1", addresses: [Self.leased], on: Self.vni)
        #expect(!operations.contains(.deleteNeighbour(Self.vni, Self.leased)))
        #expect(datapath.claim(Self.leased, nil, on: Self.vni) == [.deleteNeighbour(Self.vni, Self.leased)])
    }

    /// An endpoint that comes with a MAC that another one claims has it; when it goes, the claim counts again.
    @Test func theMACOfAnEndpointIsItsOwn() {
        var datapath = Self.raised()
        _ = datapath.claim(Self.virtual, .vtep(Self.far), on: Self.vni)
        let port = Port(containerLink: "so2", mac: Self.virtual)
        _ = datapath.addPort("ve2", port, addresses: [], on: Self.vni)
        #expect(datapath.wanted(Self.vni)?.forwarding[Self.virtual] == .port("ve2"))
        #expect(datapath.claim(Self.virtual, .port("ve1"), on: Self.vni) == [])
        #expect(datapath.wanted(Self.vni)?.forwarding[Self.virtual] == .port("ve2"))
        let operations = datapath.removePort("ve2", addresses: [], on: Self.vni)
        #expect(operations.contains(.setForwarding(Self.vni, Self.virtual, .port("ve1"))))
        #expect(datapath.wanted(Self.vni)?.forwarding[Self.virtual] == .port("ve1"))
    }

    /// Both ways to the desired state agree: change by change, and by repair.
    @Test(arguments: 1...60 as ClosedRange<UInt64>)
    func changesAndRepairAgree(seed: UInt64) {
        var draw = Draw(seed: seed)
        var datapath = Datapath()
        var kernel = KernelModel()
        for step in 0..<200 {
            let vni = draw.vni()
            let base = NetworkState.Base(vni: vni, local: IPAddress(v4: 192, 0, 2, 1), port: 4789, mtu: 1450)
            let addresses = (0..<draw.number(3)).map { _ in draw.address() }
            switch draw.number(14) {
            case 0...1: kernel.apply(datapath.raise(base, gateways: []))
            case 2: if draw.chance(30) { kernel.apply(datapath.lower(vni)) }
            case 3...4:
                let name = draw.portName()
                kernel.apply(datapath.addPort(name, Draw.port(name), addresses: addresses, on: vni))
            case 5:
                kernel.apply(datapath.removePort(draw.portName(), addresses: addresses, on: vni))
                kernel.apply(datapath.reap())
            case 6...7: kernel.apply(datapath.locate(draw.mac(), .vtep(draw.vtep()), addresses: addresses, on: vni))
            case 8...9: kernel.apply(datapath.forget(draw.mac(), .vtep(draw.vtep()), addresses: addresses, on: vni))
            case 10...11: kernel.apply(datapath.claim(draw.mac(), draw.chance(70) ? .vtep(draw.vtep()) : nil, on: vni))
            default: kernel.apply(datapath.claim(draw.address(), draw.chance(70) ? draw.mac() : nil, on: vni))
            }
            let wanted = Dictionary(
                uniqueKeysWithValues: datapath.networks.keys.compactMap { vni in datapath.wanted(vni).map { (vni, $0) } })
            #expect(kernel.observed == ObservedState(networks: wanted), "seed \(seed), step \(step)")
            #expect(datapath.repair(kernel.observed, keepingRowsTo: [:]).isEmpty, "seed \(seed), step \(step)")
        }
        #expect(kernel.refused.isEmpty)
    }
}
