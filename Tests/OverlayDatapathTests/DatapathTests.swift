import OverlayModel
import Testing

@testable import OverlayDatapath

@Suite struct DatapathTests {
    private static let vni = VNI(1_048_576)!
    private static let base = NetworkState.Base(vni: vni, local: IPAddress(v4: 192, 0, 2, 1), port: 4789, mtu: 1450)
    private static let gateway = IPPrefix("10.0.0.1/24")!
    private static let address = IPAddress(v4: 10, 0, 0, 9)
    private static let one = MACAddress("02:42:0a:00:00:01")!
    private static let other = MACAddress("02:42:0a:00:00:02")!
    private static let near = IPAddress(v4: 192, 0, 2, 2)
    private static let far = IPAddress(v4: 192, 0, 2, 3)

    private static func raised() -> Datapath {
        var datapath = Datapath()
        _ = datapath.raise(base, gateways: [gateway])
        return datapath
    }

    /// A host that claims a local endpoint takes nothing away.
    @Test func whatIsHereIsNotElsewhere() {
        var datapath = Self.raised()
        _ = datapath.addPort("ve1", Port(containerLink: "so1", mac: Self.one), addresses: [Self.address], on: Self.vni)
        let before = datapath.networks
        #expect(datapath.locate(Self.one, .vtep(Self.far), addresses: [Self.address], on: Self.vni) == [])
        #expect(datapath.forget(Self.one, .vtep(Self.far), addresses: [Self.address], on: Self.vni) == [])
        #expect(datapath.networks == before)
        // Nor can it claim the address under another MAC.
        let rows = datapath.locate(Self.other, .vtep(Self.far), addresses: [Self.address], on: Self.vni)
        #expect(rows == [.setForwarding(Self.vni, Self.other, .vtep(Self.far))])
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: Self.one])
    }

    /// A container moved to another host, and the old host's late message comes last.
    @Test func aLateGoneTakesNothingOfTheNewPlace() {
        var datapath = Self.raised()
        _ = datapath.locate(Self.one, .vtep(Self.far), addresses: [Self.address], on: Self.vni)
        _ = datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        #expect(datapath.forget(Self.one, .vtep(Self.far), addresses: [Self.address], on: Self.vni) == [])
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: Self.one])
        #expect(datapath.networks[Self.vni]?.forwarding == [Self.one: .vtep(Self.near)])
    }

    /// One endpoint takes an address that another released, and this host hears of it in either order. The one that stays gets the
    /// row.
    @Test(arguments: [false, true])
    func anAddressThatTwoHadIsTheOnesThatStays(newerFirst: Bool) {
        var datapath = Datapath()
        var kernel = KernelModel()
        kernel.apply(datapath.raise(Self.base, gateways: [Self.gateway]))
        let order = newerFirst ? [(Self.other, Self.far), (Self.one, Self.near)] : [(Self.one, Self.near), (Self.other, Self.far)]
        for (mac, vtep) in order {
            kernel.apply(datapath.locate(mac, .vtep(vtep), addresses: [Self.address], on: Self.vni))
        }
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: order[1].0], "the last word counts")
        kernel.apply(datapath.forget(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni))
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: Self.other])
        #expect(kernel.observed.networks == datapath.whole)
        kernel.apply(datapath.forget(Self.other, .vtep(Self.far), addresses: [Self.address], on: Self.vni))
        #expect(datapath.networks[Self.vni]?.neighbours == [:])
        #expect(kernel.observed.networks == datapath.whole)
    }

    /// An address that another host claims goes to it once the local container is gone.
    @Test func whatIsElsewhereTooIsThereAfterwards() {
        var datapath = Self.raised()
        _ = datapath.addPort("ve1", Port(containerLink: "so1", mac: Self.one), addresses: [Self.address], on: Self.vni)
        _ = datapath.locate(Self.other, .vtep(Self.far), addresses: [Self.address], on: Self.vni)
        _ = datapath.removePort("ve1", addresses: [Self.address], on: Self.vni)
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: Self.other])
        _ = datapath.forget(Self.other, .vtep(Self.far), addresses: [Self.address], on: Self.vni)
        #expect(datapath.networks[Self.vni]?.neighbours == [:])
    }

    // MARK: Repair

    @Test(arguments: 1...300 as ClosedRange<UInt64>)
    func repairLeadsFromAnythingToWhatIsWanted(seed: UInt64) {
        var draw = Draw(seed: seed)
        var datapath = Datapath()
        var kernel = KernelModel()
        for value in 0..<4 as Range<UInt32> {
            let vni = VNI(1_048_576 + value)!
            let names = Set((0..<draw.number(4)).map { _ in draw.portName() })
            let found = draw.chance(70) ? draw.state(vni, ports: names.union([draw.portName()])) : nil
            if draw.chance(75) {
                // Ports that are not found cannot be wanted, as their containers are gone.
                datapath.adopt(draw.state(vni, ports: found == nil ? [] : names))
            }
            kernel.observed.networks[vni] = found
            if draw.chance(30) { kernel.observed.networks[vni]?.base.isFiltered = false }
            if found == nil, draw.chance(50) { kernel.observed.broken.insert(vni) }
        }
        kernel.apply(datapath.repair(kernel.observed, keepingRowsTo: [:]))
        #expect(kernel.observed == ObservedState(networks: datapath.whole), "seed \(seed)")
        #expect(kernel.refused.isEmpty, "seed \(seed)")
        #expect(datapath.repair(kernel.observed, keepingRowsTo: [:]).isEmpty, "seed \(seed): a second repair finds nothing")
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
            switch draw.number(12) {
            case 0...1: kernel.apply(datapath.raise(base, gateways: [Self.gateway]))
            case 2: if draw.chance(30) { kernel.apply(datapath.lower(vni)) }
            case 3...4:
                let name = draw.portName()
                kernel.apply(datapath.addPort(name, Draw.port(name), addresses: addresses, on: vni))
            case 5:
                kernel.apply(datapath.removePort(draw.portName(), addresses: addresses, on: vni))
                kernel.apply(datapath.reap())
            case 6...8: kernel.apply(datapath.locate(draw.mac(), .vtep(draw.vtep()), addresses: addresses, on: vni))
            case 9...10: kernel.apply(datapath.forget(draw.mac(), .vtep(draw.vtep()), addresses: addresses, on: vni))
            default: kernel.apply(datapath.setFlood(draw.vtep(), draw.chance(50), on: vni))
            }
            #expect(kernel.observed == ObservedState(networks: datapath.whole), "seed \(seed), step \(step)")
            #expect(datapath.repair(kernel.observed, keepingRowsTo: [:]).isEmpty, "seed \(seed), step \(step)")
        }
        #expect(kernel.refused.isEmpty)
    }

    @Test func rowsToUnknownMembersAreKept() {
        var datapath = Self.raised()
        _ = datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        var kernel = KernelModel()
        kernel.apply(datapath.repair(ObservedState(), keepingRowsTo: [:]))
        let farAddress = IPAddress(v4: 10, 0, 0, 77)
        kernel.apply([
            .setForwarding(Self.vni, Self.other, .vtep(Self.far)), .setNeighbour(Self.vni, farAddress, Self.other),
            .addFlood(Self.vni, Self.far),
        ])
        #expect(datapath.repair(kernel.observed, keepingRowsTo: [Self.vni: [Self.far]]).isEmpty)
        // Rows that lead elsewhere go, even if the MAC was at the unknown VTEP before.
        kernel.apply([
            .setNeighbour(Self.vni, IPAddress(v4: 10, 0, 0, 78), MACAddress(bits: 0x0299)), .addFlood(Self.vni, Self.near),
        ])
        let repair = datapath.repair(kernel.observed, keepingRowsTo: [Self.vni: [Self.far]])
        #expect(Set(repair) == [.deleteNeighbour(Self.vni, IPAddress(v4: 10, 0, 0, 78)), .deleteFlood(Self.vni, Self.near)])
        kernel.apply(repair)
        kernel.apply(datapath.repair(kernel.observed, keepingRowsTo: [:]))
        #expect(kernel.observed.networks == datapath.whole)
    }

    @Test func wantedRowsWinOverKeptOnes() {
        var datapath = Self.raised()
        _ = datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        var kernel = KernelModel()
        kernel.apply(datapath.repair(ObservedState(), keepingRowsTo: [:]))
        kernel.apply([.setForwarding(Self.vni, Self.one, .vtep(Self.far)), .setNeighbour(Self.vni, Self.address, Self.other)])
        kernel.apply(datapath.repair(kernel.observed, keepingRowsTo: [Self.vni: [Self.far]]))
        #expect(kernel.observed.networks == datapath.whole)
    }

    /// A row to a missing port would be refused, and would stop the repair of everything after it.
    @Test func noRowLeadsToAPortThatIsGone() {
        var datapath = Self.raised()
        _ = datapath.addPort("ve0", Port(containerLink: "so0", mac: Self.one), addresses: [Self.address], on: Self.vni)
        _ = datapath.setFlood(Self.near, true, on: Self.vni)
        var kernel = KernelModel()
        kernel.apply(datapath.repair(ObservedState(), keepingRowsTo: [:]))
        #expect(kernel.refused.isEmpty, "\(kernel.refused)")
        #expect(kernel.observed.networks[Self.vni]?.flood == [Self.near])
    }

    // MARK: What others change

    private static func withPorts() -> (Datapath, KernelModel) {
        var datapath = Self.raised()
        var kernel = KernelModel()
        kernel.apply(datapath.repair(ObservedState(), keepingRowsTo: [:]))
        for (name, mac) in [("ve1", Self.one), ("ve2", Self.other)] {
            kernel.apply(
                datapath.addPort(
                    name, Port(containerLink: "so" + name.dropFirst(2), mac: mac),
                    addresses: [IPAddress(v4: 10, 0, 0, UInt8(name.utf8.last ?? 0))], on: Self.vni))
        }
        return (datapath, kernel)
    }

    @Test func whatIsAlteredIsSetAgainAndNothingElse() {
        let (datapath, kernel) = Self.withPorts()
        var seen = kernel.observed
        #expect(datapath.repair(seen, keepingRowsTo: [:]).isEmpty && datapath.lostPorts(seen).isEmpty)
        seen.altered[Self.vni] = Alteration(hasDevices: true)
        #expect(datapath.repair(seen, keepingRowsTo: [:]) == [.createNetwork(Self.base)])
        seen.altered[Self.vni] = Alteration(ports: ["ve2", "ve9"])
        let port = Port(containerLink: "so2", mac: Self.other)
        #expect(datapath.repair(Self.vni, seen, keepingRowsTo: []) == [.mendPort(Self.vni, name: "ve2", port, mtu: 1450)])
        #expect(datapath.repair(VNI(1_048_600)!, seen, keepingRowsTo: []).isEmpty)
    }

    /// A network without its bridge still has ports: those are adopted, and the one that is missing is not made in the host.
    @Test func aBrokenNetworkIsMadeAroundThePortsThatAreLeft() throws {
        let (datapath, kernel) = Self.withPorts()
        let seen = ObservedState(broken: [Self.vni], remains: [Self.vni: ["ve1", "ve7"]])
        #expect(datapath.lostPorts(seen).map(\.name) == ["ve2"])
        let operations = datapath.repair(seen, keepingRowsTo: [:])
        let port = Port(containerLink: "so1", mac: Self.one)
        #expect(operations.first == .createNetwork(Self.base))
        #expect(operations.contains(.mendPort(Self.vni, name: "ve1", port, mtu: 1450)))
        #expect(operations.contains(.setForwarding(Self.vni, Self.one, .port("ve1"))))
        #expect(operations.contains(.deletePort(Self.vni, name: "ve7")))
        #expect(!operations.contains(.setForwarding(Self.vni, Self.other, .port("ve2"))))
        // Its rows come when it is there.
        #expect(
            datapath.rows(to: "ve2", on: Self.vni) == [
                .setForwarding(Self.vni, Self.other, .port("ve2")),
                .setNeighbour(Self.vni, IPAddress(v4: 10, 0, 0, 50), Self.other),
            ])
        let order = try [
            operations.firstIndex(of: .mendPort(Self.vni, name: "ve1", port, mtu: 1450)),
            operations.firstIndex(of: .setForwarding(Self.vni, Self.one, .port("ve1"))),
        ].map { try #require($0) }
        #expect(order[0] < order[1])
        #expect(kernel.refused.isEmpty)
    }

    @Test func rowsWithPartsOfOthersGoBeforeTheyAreSet() {
        let (initial, model) = Self.withPorts()
        var datapath = initial
        var kernel = model
        let mac = MACAddress(bits: 0x0242_0000_0077)
        kernel.apply(datapath.locate(mac, .vtep(Self.far), addresses: [], on: Self.vni))
        kernel.apply(datapath.setFlood(Self.far, true, on: Self.vni))
        kernel.apply([.setForwarding(Self.vni, mac, .nowhere), .addFlood(Self.vni, IPAddress(v4: 0, 0, 0, 0))])
        #expect(
            datapath.repair(kernel.observed, keepingRowsTo: [:]) == [
                .deleteForwarding(Self.vni, mac, .nowhere), .setForwarding(Self.vni, mac, .vtep(Self.far)),
                .deleteFlood(Self.vni, IPAddress(v4: 0, 0, 0, 0)), .addFlood(Self.vni, Self.far),
            ])
    }

    @Test func anotherMTUGoesToThePortsToo() {
        var (datapath, kernel) = Self.withPorts()
        kernel.observed.networks[Self.vni]?.base.mtu = 1400
        let names = datapath.repair(kernel.observed, keepingRowsTo: [:]).compactMap {
            if case .mendPort(_, let name, _, 1450) = $0 { name } else { nil }
        }
        #expect(names == ["ve1", "ve2"])
        _ = datapath.lower(Self.vni)
        #expect(datapath.port("ve1", on: Self.vni) == nil && datapath.rows(to: "ve1", on: Self.vni).isEmpty)
    }

    // MARK: Changes

    @Test func raisingTwiceIsRaisingOnce() {
        var datapath = Datapath()
        #expect(
            datapath.raise(Self.base, gateways: [Self.gateway]) == [.createNetwork(Self.base), .addGateway(Self.vni, Self.gateway)])
        #expect(datapath.raise(Self.base, gateways: [Self.gateway]).isEmpty)
        #expect(datapath.lower(Self.vni) == [.deleteNetwork(Self.vni)] && datapath.lower(Self.vni).isEmpty)
    }

    @Test func networksThatAreNotHereTakeNothing() {
        var datapath = Datapath()
        let port = Port(containerLink: "so", mac: Self.one)
        #expect(datapath.addPort("ve", port, addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(datapath.removePort("ve", addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(datapath.forget(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(datapath.setFlood(Self.near, true, on: Self.vni).isEmpty)
        #expect(datapath.networks.isEmpty)
    }

    @Test func aPortIsMadeWithItsRowsAndGoesWithThem() {
        var datapath = Self.raised()
        let port = Port(containerLink: "so1", mac: Self.one)
        #expect(
            datapath.addPort("ve1", port, addresses: [Self.address], on: Self.vni) == [
                .createPort(Self.vni, name: "ve1", port, mtu: 1450), .setForwarding(Self.vni, Self.one, .port("ve1")),
                .setNeighbour(Self.vni, Self.address, Self.one),
            ])
        #expect(datapath.addPort("ve1", port, addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(
            datapath.removePort("ve1", addresses: [Self.address], on: Self.vni) == [
                .deleteNeighbour(Self.vni, Self.address), .deleteForwarding(Self.vni, Self.one, .port("ve1")),
                .deletePort(Self.vni, name: "ve1"),
            ])
        #expect(datapath.removePort("ve1", addresses: [Self.address], on: Self.vni).isEmpty)
        #expect(datapath.networks[Self.vni] == Self.raised().networks[Self.vni])
    }

    @Test func linksOfDeletedPortsEndTogether() {
        var datapath = Self.raised()
        for (name, mac) in [("ve1", Self.one), ("ve2", Self.other)] {
            _ = datapath.addPort(name, Port(containerLink: "so", mac: mac), addresses: [], on: Self.vni)
        }
        #expect(datapath.reap().isEmpty)
        _ = datapath.removePort("ve1", addresses: [], on: Self.vni)
        _ = datapath.removePort("ve2", addresses: [], on: Self.vni)
        #expect(datapath.reap() == [.reapPorts(Self.vni)] && datapath.reap().isEmpty)
        // They end with their network.
        _ = datapath.addPort("ve1", Port(containerLink: "so", mac: Self.one), addresses: [], on: Self.vni)
        _ = datapath.removePort("ve1", addresses: [], on: Self.vni)
        #expect(datapath.lower(Self.vni) == [.deleteNetwork(Self.vni)] && datapath.reap().isEmpty)
    }

    /// Links that a killed daemon has left, and ports that nobody wants.
    @Test func linksThatWereLeftAreReaped() {
        let datapath = Self.raised()
        var kernel = KernelModel()
        kernel.apply(datapath.repair(ObservedState(), keepingRowsTo: [:]))
        kernel.observed.unreaped = [Self.vni]
        #expect(datapath.repair(kernel.observed, keepingRowsTo: [:]) == [.reapPorts(Self.vni)])
        kernel.observed.unreaped = []
        kernel.observed.networks[Self.vni]?.ports["ve7"] = Port(containerLink: "so7", mac: Self.one)
        #expect(
            datapath.repair(kernel.observed, keepingRowsTo: [:]) == [
                .deletePort(Self.vni, name: "ve7"), .reapPorts(Self.vni),
            ])
    }

    @Test func theRowsOfANewerEndpointStay() {
        var datapath = Self.raised()
        _ = datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        // Its address went to another endpoint before the news that it is gone.
        _ = datapath.locate(Self.other, .vtep(Self.far), addresses: [Self.address], on: Self.vni)
        #expect(
            datapath.forget(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
                == [.deleteForwarding(Self.vni, Self.one, .vtep(Self.near))])
        #expect(datapath.networks[Self.vni]?.neighbours == [Self.address: Self.other])
        // Its MAC moved with it to another host.
        _ = datapath.locate(Self.other, .vtep(Self.near), addresses: [], on: Self.vni)
        #expect(datapath.forget(Self.other, .vtep(Self.far), addresses: [], on: Self.vni).isEmpty)
        #expect(datapath.networks[Self.vni]?.forwarding == [Self.other: .vtep(Self.near)])
    }

    @Test func onlyAChangedMACIsAnnounced() {
        var datapath = Self.raised()
        func announced(_ mac: MACAddress) -> Bool {
            datapath.locate(mac, .vtep(Self.near), addresses: [Self.address], on: Self.vni).contains(
                .announce(Self.vni, Self.address, mac))
        }
        #expect(!announced(Self.one), "the first is no change")
        #expect(!announced(Self.one))
        #expect(announced(Self.other))
        _ = datapath.forget(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        _ = datapath.forget(Self.other, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        #expect(!announced(Self.other), "the same again after it was away")
        _ = datapath.forget(Self.other, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        #expect(announced(Self.one), "containers may still know the old one")
        _ = datapath.lower(Self.vni)
        _ = datapath.raise(Self.base, gateways: [])
        #expect(!announced(Self.other), "a network that was gone has no containers that remember")
    }

    /// Containers that were there before the daemon's present life know what that one does not.
    @Test func whatContainersMayKnowFromBeforeIsAnnounced() {
        func announced(_ datapath: inout Datapath, _ mac: MACAddress) -> Bool {
            datapath.locate(mac, .vtep(Self.near), addresses: [Self.address], on: Self.vni).contains(
                .announce(Self.vni, Self.address, mac))
        }
        func recalling(_ neighbours: [IPAddress: MACAddress], hasPorts: Bool) -> Datapath {
            var state = NetworkState(base: Self.base)
            state.neighbours = neighbours
            if hasPorts { state.ports["ve1"] = Port(containerLink: "vc1", mac: MACAddress(bits: 0x02_42_00_00_00_99)) }
            var datapath = Datapath()
            datapath.recall(ObservedState(networks: [Self.vni: state]))
            _ = datapath.raise(Self.base, gateways: [])
            return datapath
        }
        var same = recalling([Self.address: Self.one], hasPorts: true)
        #expect(!announced(&same, Self.one), "the kernel has answered with it all the while")
        var another = recalling([Self.address: Self.one], hasPorts: true)
        #expect(announced(&another, Self.other), "it changed hands while the daemon was away")
        var gone = recalling([:], hasPorts: true)
        #expect(announced(&gone, Self.one), "another one may have had it in the life before")
        #expect(!announced(&gone, Self.one))
        var empty = recalling([:], hasPorts: false)
        #expect(!announced(&empty, Self.one), "nobody is there who could know")
        // The network goes, and what its containers knew with it.
        _ = gone.lower(Self.vni)
        _ = gone.raise(Self.base, gateways: [])
        #expect(!announced(&gone, Self.other))
    }

    /// A row that somebody else altered is put right where the containers may have learned it, too.
    @Test func aMendedNeighbourIsAnnounced() {
        var datapath = Self.raised()
        _ = datapath.locate(Self.one, .vtep(Self.near), addresses: [Self.address], on: Self.vni)
        var observed = ObservedState(networks: datapath.networks)
        #expect(datapath.repair(observed, keepingRowsTo: [:]).isEmpty)
        observed.networks[Self.vni]?.neighbours[Self.address] = Self.other
        #expect(
            datapath.repair(observed, keepingRowsTo: [:]) == [
                .setNeighbour(Self.vni, Self.address, Self.one), .announce(Self.vni, Self.address, Self.one),
            ])
        observed.networks[Self.vni]?.neighbours[Self.address] = nil
        #expect(datapath.repair(observed, keepingRowsTo: [:]) == [.setNeighbour(Self.vni, Self.address, Self.one)])
    }

    @Test func floodIsSetAndUnset() {
        var datapath = Self.raised()
        #expect(datapath.setFlood(Self.near, false, on: Self.vni).isEmpty)
        #expect(datapath.setFlood(Self.near, true, on: Self.vni) == [.addFlood(Self.vni, Self.near)])
        #expect(datapath.setFlood(Self.near, true, on: Self.vni).isEmpty)
        #expect(datapath.setFlood(Self.near, false, on: Self.vni) == [.deleteFlood(Self.vni, Self.near)])
    }

    // MARK: Names

    @Test(arguments: [1_048_576, 9_999_999, 0xFF_FFFF] as [UInt32])
    func aNamespaceIsNamedAfterItsNetwork(value: UInt32) throws {
        let vni = try #require(VNI(value))
        #expect(KernelName.vni(namespace: KernelName.namespace(vni)) == vni)
        #expect(!KernelName.gatewayMAC(vni).isMulticast)
    }

    /// Namespaces that are not ours are never touched.
    @Test(
        arguments: [
            "", "swov-", "swov-1", "swov-4096", "swov-16777216", "swov-01048576", "swov-+1048576", "swov-1048576 ", "swov-1048576a",
            "xswov-1048576",
            "swov-99999999999999999999", "swov--1048576",
        ])
    func otherNamespacesAreNotOurs(name: String) { #expect(KernelName.vni(namespace: name) == nil) }

    @Test func linkNamesFitIntoTheKernel() {
        let endpoint = EndpointID(String(repeating: "a", count: 64))!
        #expect(KernelName.port(endpoint).utf8.count <= 15 && KernelName.containerLink(endpoint).utf8.count <= 15)
        #expect(KernelName.port(endpoint) != KernelName.containerLink(endpoint))
    }
}

extension Datapath {
    /// All networks as the kernel should hold them.
    fileprivate var whole: [VNI: NetworkState] {
        Dictionary(uniqueKeysWithValues: networks.keys.compactMap { vni in wanted(vni).map { (vni, $0) } })
    }
}
