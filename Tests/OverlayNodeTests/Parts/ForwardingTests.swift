import OverlayDatapath
import OverlayModel
import OverlayReplication
import Testing

@testable import OverlayCatalogue
@testable import OverlayNode

@Suite struct ForwardingTests {
    private static let vni = VNI(VNI.all.lowerBound)!
    private static let vtep = IPAddress(v4: 192, 0, 2, 2)
    private static let gateway = IPPrefix(Part.address(1), length: 24)!

    private static func network(_ vni: VNI = Self.vni) -> Network {
        let subnet = Subnet(
            id: Part.subnet, prefix: IPPrefix(Part.address(0), length: 24)!, range: nil, gateway: Part.address(1), auxiliary: [],
            users: [], blocks: [])
        return Network(id: Part.network, name: "net", vni: vni, subnets: [subnet], settings: nil)
    }

    private static func base(_ vni: VNI = Self.vni, mtu: UInt32 = 1450) -> NetworkState.Base {
        NetworkState.Base(vni: vni, local: IPAddress(v4: 192, 0, 2, 1), port: 4789, mtu: mtu)
    }

    private static func record(_ last: UInt8) -> EndpointRecord {
        EndpointRecord(endpoint: Part.endpoint(Int(last)), mac: Part.mac(UInt64(last)), v4: Part.address(last), v6: nil)
    }

    private static func remote(_ last: UInt8...) -> Forwarding.Remote { Forwarding.Remote(vtep: vtep, records: last.map(record)) }

    private static func raised(_ remotes: Forwarding.Remote...) -> Forwarding {
        var forwarding = Forwarding()
        _ = forwarding.raise(network(), base(), remotes)
        return forwarding
    }

    private static func rows(_ last: UInt8) -> [KernelOperation] {
        [
            .setForwarding(vni, Part.mac(UInt64(last)), .vtep(vtep)),
            .setNeighbour(vni, Part.address(last), Part.mac(UInt64(last))),
        ]
    }

    private static func noRows(_ last: UInt8) -> [KernelOperation] {
        [.deleteNeighbour(vni, Part.address(last)), .deleteForwarding(vni, Part.mac(UInt64(last)), .vtep(vtep))]
    }

    /// The kernel as it should be.
    private static func whole(_ vnis: VNI...) -> ObservedState {
        ObservedState(
            networks: vnis.reduce(into: [:]) {
                $0[$1] = NetworkState(base: base($1))
                $0[$1]?.gateways = [gateway]
            })
    }

    // MARK: Networks

    @Test func aNetworkIsRaisedWithItsRemoteRowsAndLowered() {
        var forwarding = Forwarding()
        #expect(!forwarding.isUp(Self.vni) && forwarding.base(of: Self.vni) == nil && !forwarding.isUnused(Self.vni))
        let operations = forwarding.raise(Self.network(), Self.base(), [Self.remote(8)])
        #expect(
            operations == [.createNetwork(Self.base()), .addGateway(Self.vni, Self.gateway), .addFlood(Self.vni, Self.vtep)]
                + Self.rows(8))
        #expect(forwarding.isUp(Self.vni) && forwarding.base(of: Self.vni) == Self.base() && forwarding.vnis == [Self.vni])
        #expect(forwarding.isUnused(Self.vni))
        #expect(forwarding.raise(Self.network(), Self.base(), [Self.remote(8)]).isEmpty)
        #expect(forwarding.lower(Self.vni) == [.deleteNetwork(Self.vni)] && forwarding.lower(Self.vni).isEmpty)
        #expect(!forwarding.isUp(Self.vni))
    }

    @Test func whatIsNotUpHasNoRows() {
        var forwarding = Forwarding()
        #expect(forwarding.follow(Self.remote(8), on: Self.network()).isEmpty)
        #expect(
            forwarding.addPort(of: Part.local(1), on: Self.vni).isEmpty
                && forwarding.removePort(of: Part.local(1), on: Self.vni).isEmpty)
    }

    // MARK: Ports

    @Test func aPortIsMadeWithItsRowsAndGoesWithThem() {
        var forwarding = Self.raised()
        let endpoint = Part.local(3)
        let name = KernelName.port(endpoint.id)
        let port = Port(containerLink: KernelName.containerLink(endpoint.id), mac: endpoint.mac)
        #expect(
            forwarding.addPort(of: endpoint, on: Self.vni) == [
                .createPort(Self.vni, name: name, port, mtu: 1450), .setForwarding(Self.vni, endpoint.mac, .port(name)),
                .setNeighbour(Self.vni, Part.address(3), endpoint.mac),
            ])
        #expect(!forwarding.isUnused(Self.vni) && forwarding.addPort(of: endpoint, on: Self.vni).isEmpty)
        #expect(
            forwarding.removePort(of: endpoint, on: Self.vni) == [
                .deleteNeighbour(Self.vni, Part.address(3)), .deleteForwarding(Self.vni, endpoint.mac, .port(name)),
                .deletePort(Self.vni, name: name),
            ])
        #expect(forwarding.isUnused(Self.vni))
    }

    // MARK: Remote endpoints

    @Test func anOwnerIsFollowedAndLeftWithAllItsRows() {
        var forwarding = Self.raised()
        #expect(
            forwarding.follow(Self.remote(8, 9), on: Self.network()) == [.addFlood(Self.vni, Self.vtep)] + Self.rows(8)
                + Self.rows(9))
        #expect(
            forwarding.leave(Self.remote(8, 9), on: Self.network()) == [.deleteFlood(Self.vni, Self.vtep)] + Self.noRows(8)
                + Self.noRows(9))
    }

    @Test func anEndpointOfAnOwnerAppearsAndGoes() {
        var forwarding = Self.raised(Self.remote())
        #expect(forwarding.locate(Self.record(8), at: Self.vtep, on: Self.network()) == Self.rows(8))
        #expect(forwarding.locate(Self.record(8), at: Self.vtep, on: Self.network()).isEmpty)
        #expect(forwarding.forget(Self.record(8), at: Self.vtep, on: Self.network()) == Self.noRows(8))
    }

    /// Whatever another node says, no row leads from the gateway, the network's own address or another network to a container of it.
    @Test func addressesThatNoEndpointMayHaveGetNoRow() {
        var forwarding = Self.raised()
        for address in [Part.address(1), Part.address(0), IPAddress(v4: 10, 0, 1, 8)] {
            var record = Self.record(8)
            record.mac = Part.mac(UInt64(address.bits))
            record.v4 = address
            #expect(
                forwarding.locate(record, at: Self.vtep, on: Self.network()) == [
                    .setForwarding(Self.vni, record.mac, .vtep(Self.vtep))
                ])
        }
    }

    // MARK: Observations

    @Test func theKernelIsReadAndReadAgainAfterThePeriod() throws {
        var forwarding = Forwarding()
        var outbox = Part.outbox(at: .seconds(1))
        forwarding.repair(into: &outbox)
        #expect(outbox.timers[.repair] == Instant.seconds(1) + Forwarding.repairPeriod)
        let id = try #require(outbox.take().observations.first)
        #expect(!forwarding.isReady && forwarding.observed(Part.effect(99)) == nil && !forwarding.isReady)
        #expect(forwarding.observed(id) == true && forwarding.isReady)
        #expect(forwarding.observed(id) == nil)
        forwarding.repair(into: &outbox)
        #expect(forwarding.observed(try #require(outbox.take().observations.first)) == false)
    }

    @Test func aRepairThatComesDueWhileTheKernelIsReadIsDoneRightAfter() throws {
        var forwarding = Forwarding()
        var outbox = Part.outbox()
        forwarding.repair(into: &outbox)
        let id = try #require(outbox.take().observations.first)
        outbox.begin(at: .seconds(2))
        forwarding.repair(into: &outbox)
        #expect(outbox.take().isEmpty && outbox.timers[.repair] == Instant.seconds(2) + Forwarding.repairDelay)
        _ = forwarding.observed(id)
        forwarding.repair(into: &outbox)
        #expect(outbox.take().observations.count == 1)
    }

    @Test func aKernelThatCouldNotBeReadIsReadAgain() throws {
        var forwarding = Forwarding()
        var outbox = Part.outbox()
        forwarding.repair(into: &outbox)
        let id = try #require(outbox.take().observations.first)
        forwarding.notObserved(Part.effect(99), into: &outbox)
        #expect(outbox.timers[.repair] == .zero + Forwarding.repairPeriod)
        // Calls wait for the first observation.
        forwarding.notObserved(id, into: &outbox)
        #expect(outbox.timers[.repair] == .seconds(1) && !forwarding.isReady)
        forwarding.repair(into: &outbox)
        _ = forwarding.observed(try #require(outbox.take().observations.first))
        forwarding.repair(into: &outbox)
        forwarding.notObserved(try #require(outbox.take().observations.first), into: &outbox)
        #expect(outbox.timers[.repair] == .zero + Forwarding.repairPeriod)
        forwarding.repair(into: &outbox)
        #expect(outbox.take().observations.count == 1)
    }

    // MARK: Repair

    @Test func aRepairThatIsAskedForPutsNoEarlierOneOff() {
        let forwarding = Forwarding()
        var outbox = Part.outbox()
        outbox.timers.set(.repair, at: .milliseconds(100))
        forwarding.repairSoon(into: &outbox)
        #expect(outbox.timers[.repair] == .milliseconds(100))
        outbox.timers.set(.repair, at: .seconds(60))
        forwarding.repairSoon(into: &outbox)
        #expect(outbox.timers[.repair] == .zero + Forwarding.repairDelay)
    }

    @Test func eachNetworkIsRepairedInABatchOfItsOwn() throws {
        let second = try #require(VNI(Self.vni.value + 1))
        let stale = try #require(VNI(Self.vni.value + 2))
        var forwarding = Self.raised(Self.remote(8))
        _ = forwarding.raise(Self.network(second), Self.base(second), [])
        var outbox = Part.outbox()
        forwarding.repair(Self.whole(Self.vni, stale), sparing: [:], into: &outbox)
        let batches = outbox.take().batches
        #expect(
            batches == [
                [.deleteNetwork(stale)], Self.rows(8) + [.addFlood(Self.vni, Self.vtep)],
                [.createNetwork(Self.base(second)), .addGateway(second, Self.gateway)],
            ])
        #expect(outbox.timers[.repair] == nil)
    }

    @Test func aBrokenNetworkIsLookedAtAgainSoon() {
        var forwarding = Self.raised()
        var outbox = Part.outbox()
        forwarding.repair(ObservedState(broken: [Self.vni]), sparing: [:], into: &outbox)
        #expect(outbox.take().batches.count == 1 && outbox.timers[.repair] == .zero + Forwarding.repairDelay)
    }

    @Test func rowsOfOwnersThatAreNotKnownYetAreSpared() throws {
        var observed = Self.whole(Self.vni)
        observed.networks[Self.vni]?.flood = [Self.vtep]
        observed.networks[Self.vni]?.forwarding = [Part.mac(8): .vtep(Self.vtep)]
        var forwarding = Self.raised()
        var outbox = Part.outbox()
        forwarding.repair(observed, sparing: [Self.vni: [Self.vtep]], into: &outbox)
        #expect(outbox.take().isEmpty)
        #expect(
            !forwarding.sparesTooMuch([Self.vni: [Self.vtep]]) && forwarding.sparesTooMuch([:])
                && forwarding.sparesTooMuch([Self.vni: []]))
        forwarding.spare([:])
        #expect(!forwarding.sparesTooMuch([:]))
        forwarding.repair(observed, sparing: [:], into: &outbox)
        #expect(
            outbox.take().batches == [
                [.deleteForwarding(Self.vni, Part.mac(8), .vtep(Self.vtep)), .deleteFlood(Self.vni, Self.vtep)]
            ])
    }

    @Test func whatTheKernelRefusesIsTriedLessAndLessOften() {
        var forwarding = Self.raised()
        var outbox = Part.outbox()
        var delays: [Int64] = []
        for _ in 0..<11 {
            outbox.timers.clear(.repair)
            forwarding.refused(into: &outbox)
            delays.append((outbox.timers[.repair].map { $0 - outbox.now }?.nanoseconds ?? 0) / 1_000_000)
        }
        #expect(delays == [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 51_200, 51_200])
        // Something is wrong still.
        forwarding.repair(ObservedState(), sparing: [:], into: &outbox)
        outbox.timers.clear(.repair)
        forwarding.refused(into: &outbox)
        #expect(outbox.timers[.repair] == .milliseconds(51_200))
        forwarding.repair(Self.whole(Self.vni), sparing: [:], into: &outbox)
        outbox.timers.clear(.repair)
        forwarding.refused(into: &outbox)
        #expect(outbox.timers[.repair] == .milliseconds(200))
    }

    @Test func aNetworkThatIsMadeAnewHoldsWhatItIsGivenAndNothingElse() throws {
        let second = try #require(VNI(Self.vni.value + 1))
        var forwarding = Self.raised(Self.remote(8))
        _ = forwarding.raise(Self.network(second), Self.base(second), [])
        _ = forwarding.addPort(of: Part.local(3), on: Self.vni)
        forwarding.rebuild(Self.network(), Self.base(mtu: 1400), [Self.remote(9)], [Part.local(4)])
        #expect(forwarding.base(of: Self.vni)?.mtu == 1400 && forwarding.isUp(second))
        #expect(
            forwarding.follow(Self.remote(9), on: Self.network()).isEmpty
                && forwarding.addPort(of: Part.local(4), on: Self.vni).isEmpty)
        #expect(forwarding.removePort(of: Part.local(3), on: Self.vni).isEmpty)
        #expect(forwarding.locate(Self.record(8), at: Self.vtep, on: Self.network()) == Self.rows(8))
    }
}
