import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct InventoryTests {
    private static func inventory(_ rows: StoredRows = [:], seed: UInt64 = 1) throws -> Inventory {
        try Inventory(rows: rows, seed: seed)
    }

    private static func network(_ digit: Int, _ id: NetworkID = Part.network, _ subnets: [SubnetID] = []) -> LocalNetwork {
        LocalNetwork(id: Part.engineNetwork(digit), network: id, subnets: subnets)
    }

    /// Rows as version 0.1 wrote them have booleans where there are flags now.
    @Test func rowsOfAnEarlierVersionAreRead() throws {
        var endpoint = Part.local(1)
        endpoint.isJoined = true
        let bytes = endpoint.wireBytes
        endpoint.hasMulticastRoute = true
        let position = try #require(zip(bytes, endpoint.wireBytes).enumerated().first { $1.0 != $1.1 }?.offset)
        #expect(bytes[position] == 1)
        #expect(try LocalEndpoint(wire: endpoint.wireBytes) == endpoint)
        var hostile = bytes
        hostile[position] = 4
        #expect(throws: DecodeError.self) { try LocalEndpoint(wire: hostile) }
    }

    /// Ids by which the indices find an endpoint.
    private static func found(_ endpoint: LocalEndpoint, in inventory: Inventory) -> [EndpointID?] {
        let address = endpoint.addresses[0]
        return [
            inventory.endpoints(on: endpoint.network).first?.id, inventory.endpoints(of: endpoint.engineNetwork).first?.id,
            inventory.endpoints(in: endpoint.sandbox).first?.id, inventory.endpoint(with: address, on: endpoint.network)?.id,
            inventory.endpoints(with: address, on: endpoint.network).first?.id,
            inventory.endpoint(with: endpoint.mac, on: endpoint.network)?.id,
            inventory.hasEndpoints(on: endpoint.network) ? endpoint.id : nil,
            inventory.hasEndpoints(of: endpoint.engineNetwork) ? endpoint.id : nil,
            inventory.addresses(on: endpoint.network).contains(address) ? endpoint.id : nil,
            inventory.sandboxes.contains(endpoint.sandbox) ? endpoint.id : nil,
        ]
    }

    @Test func everyIndexFollowsPutReplaceAndRemove() throws {
        var inventory = try Self.inventory()
        var old = Part.local(1)
        old.sandbox = "/a"
        _ = inventory.put(old)
        #expect(Self.found(old, in: inventory).allSatisfy { $0 == old.id })
        // All that can be looked for is another.
        var new = Part.local(1, on: Part.other, of: 2, address: 9)
        new.sandbox = "/b"
        new.mac = Part.mac(99)
        _ = inventory.put(new)
        #expect(Self.found(old, in: inventory).allSatisfy { $0 == nil })
        #expect(Self.found(new, in: inventory).allSatisfy { $0 == new.id })
        #expect(inventory.endpointCount == 1 && inventory.endpoint(new.id) == new)
        #expect(inventory.remove(new.id) == .delete(.endpoint, key: new.id.wireBytes))
        #expect(Self.found(new, in: inventory).allSatisfy { $0 == nil })
        #expect(inventory.remove(new.id) == nil && inventory.endpointCount == 0 && inventory.sandboxes.isEmpty)
    }

    @Test func ofTwoEndpointsWithOneAddressTheOtherStaysWhenOneGoes() throws {
        var inventory = try Self.inventory()
        for digit in [2, 1] { _ = inventory.put(Part.local(digit, address: 5)) }
        #expect(inventory.endpoint(with: Part.address(5), on: Part.network)?.id == Part.endpoint(1))
        #expect(inventory.endpoints(with: Part.address(5), on: Part.network).map(\.id) == [Part.endpoint(1), Part.endpoint(2)])
        _ = inventory.remove(Part.endpoint(1))
        #expect(inventory.endpoint(with: Part.address(5), on: Part.network)?.id == Part.endpoint(2))
        #expect(inventory.endpoint(with: Part.address(5), on: Part.other) == nil)
    }

    @Test func listsAreInOrderOfTheId() throws {
        var inventory = try Self.inventory()
        for digit in [3, 1, 2] {
            _ = inventory.put(Part.local(digit))
            _ = inventory.put(Self.network(digit))
        }
        let ids = (1...3).map(Part.endpoint)
        #expect(inventory.allEndpoints.map(\.id) == ids && inventory.endpoints(on: Part.network).map(\.id) == ids)
        #expect(inventory.endpoints(of: Part.engineNetwork(1)).map(\.id) == ids && inventory.endpoints(in: "").map(\.id) == ids)
        #expect(inventory.allNetworks.map(\.id) == (1...3).map(Part.engineNetwork))
    }

    @Test func aNetworkIsFoundByBothOfItsIds() throws {
        var inventory = try Self.inventory()
        _ = inventory.put(Self.network(1, Part.network, [SubnetID(1), SubnetID(2)]))
        #expect(inventory.network(of: Part.network)?.id == Part.engineNetwork(1) && inventory.present == [Part.network])
        #expect(inventory.boundSubnets == [SubnetID(1), SubnetID(2)] && inventory.isBound(SubnetID(2)))
        _ = inventory.put(Self.network(1, Part.other, [SubnetID(3)]))
        #expect(inventory.network(of: Part.network) == nil && inventory.network(of: Part.other)?.id == Part.engineNetwork(1))
        #expect(!inventory.isBound(SubnetID(2)) && inventory.networkIDs == [Part.engineNetwork(1)])
        #expect(inventory.remove(Part.engineNetwork(1)) == .delete(.network, key: Part.engineNetwork(1).wireBytes))
        #expect(inventory.network(of: Part.other) == nil && inventory.remove(Part.engineNetwork(1)) == nil)
    }

    @Test func ofTwoNetworksThatAreOneTheOtherStaysWhenOneGoes() throws {
        var inventory = try Self.inventory()
        for digit in 1...2 { _ = inventory.put(Self.network(digit)) }
        #expect(inventory.network(of: Part.network)?.id == Part.engineNetwork(1))
        _ = inventory.remove(Part.engineNetwork(1))
        #expect(inventory.network(of: Part.network)?.id == Part.engineNetwork(2))
    }

    @Test func aNameIsWrittenWhereItChanges() throws {
        var inventory = try Self.inventory()
        #expect(inventory.setName("net", of: Part.engineNetwork(1)) == nil)
        _ = inventory.put(Self.network(1))
        var named = Self.network(1)
        named.name = "net"
        #expect(inventory.setName("net", of: named.id) == .put(.network, key: named.id.wireBytes, value: named.wireBytes))
        #expect(inventory.setName("net", of: named.id) == nil && inventory.network(named.id)?.name == "net")
    }

    @Test func rowsThatComeBackAreEqual() throws {
        var inventory = try Self.inventory()
        var endpoint = Part.local(1)
        endpoint.sandbox = "/run/docker/netns/1"
        endpoint.isJoined = true
        endpoint.hasPort = true
        endpoint.isElsewhere = true
        endpoint.givenName = "given"
        endpoint.learned = EndpointNames(names: ["a", "b"], ports: [ExposedPort(number: 80, transport: .tcp)])
        endpoint.v6 = IPPrefix(try #require(IPAddress("fd00::1")), length: 64)
        var network = Self.network(1, Part.network, [SubnetID(1), SubnetID(2)])
        network.name = "net"
        var rows: StoredRows = [:]
        rows.apply([inventory.put(network), inventory.put(endpoint), inventory.put(Part.local(2)), inventory.decline(Part.other)])
        var again = try Self.inventory(rows)
        #expect(again.allNetworks == [network] && again.allEndpoints == [endpoint, Part.local(2)])
        #expect(again.declined == [Part.other] && again.network(of: Part.network) == network)
        #expect(Self.found(endpoint, in: again).allSatisfy { $0 == endpoint.id })
        rows.apply([again.remove(endpoint.id), again.remove(network.id), again.want(Part.other)].compactMap { $0 })
        let last = try Self.inventory(rows)
        #expect(last.allNetworks.isEmpty && last.allEndpoints == [Part.local(2)] && last.declined.isEmpty)
    }

    @Test func rowsThatAreNotUnderstoodAreAnError() {
        #expect(throws: DecodeError.self) { try Self.inventory([.endpoint: [[1]: [1]]]) }
        #expect(throws: DecodeError.self) { try Self.inventory([.declined: [[1]: []]]) }
    }

    @Test func aNetworkIsDeclinedUntilItIsWanted() throws {
        var inventory = try Self.inventory()
        #expect(inventory.want(Part.network) == nil)
        #expect(inventory.decline(Part.network) == .put(.declined, key: Part.network.wireBytes, value: []))
        #expect(inventory.declined == [Part.network])
        #expect(inventory.want(Part.network) == .delete(.declined, key: Part.network.wireBytes))
        #expect(inventory.declined.isEmpty && inventory.want(Part.network) == nil)
    }

    @Test func theBatchThatMakesAPortIsOfThisLifeOnly() throws {
        var inventory = try Self.inventory()
        let row = inventory.put(Part.local(1))
        inventory.setPortEffect(Part.effect(3), of: Part.endpoint(1))
        let endpoint = try #require(inventory.endpoint(Part.endpoint(1)))
        #expect(endpoint.portEffect == Part.effect(3) && inventory.put(endpoint) == row)
    }

    @Test func anEndpointWithoutAJoinIsAnOrphanAfterItsAge() throws {
        var inventory = try Self.inventory()
        _ = inventory.put(Part.local(1))
        #expect(inventory.orphans(at: .seconds(5)).isEmpty)
        let due = Instant.seconds(5) + Inventory.orphanAge
        #expect(inventory.orphans(at: due - .milliseconds(1)).isEmpty)
        #expect(inventory.orphans(at: due).map(\.id) == [Part.endpoint(1)])
    }

    @Test func theAgeCountsAnewAfterAJoin() throws {
        var inventory = try Self.inventory()
        var endpoint = Part.local(1)
        _ = inventory.put(endpoint)
        #expect(inventory.orphans(at: .zero).isEmpty)
        endpoint.hasPort = true
        _ = inventory.put(endpoint)
        #expect(inventory.orphans(at: .zero + Inventory.orphanAge).isEmpty)
        endpoint.hasPort = false
        _ = inventory.put(endpoint)
        #expect(inventory.orphans(at: .zero + Inventory.orphanAge).isEmpty)
        #expect(inventory.orphans(at: .zero + Inventory.orphanAge + Inventory.orphanAge).count == 1)
    }

    @Test func drawnMACsDifferAndAreLocalAndUnicast() throws {
        var first = try Self.inventory(seed: 1)
        var same = try Self.inventory(seed: 1)
        var other = try Self.inventory(seed: 2)
        let macs = (0..<100).map { _ in first.newMAC() }
        #expect(Set(macs).count == 100)
        #expect(macs.allSatisfy { !$0.isMulticast && $0.bits & 0x0200_0000_0000 != 0 })
        #expect(macs == (0..<100).map { _ in same.newMAC() } && !macs.contains(other.newMAC()))
    }

    @Test func aNodeThatLeftItsClusterHasNothing() throws {
        var inventory = try Self.inventory()
        _ = inventory.put(Self.network(1))
        _ = inventory.put(Part.local(1))
        _ = inventory.decline(Part.other)
        inventory.forgetAll()
        #expect(inventory.allNetworks.isEmpty && inventory.allEndpoints.isEmpty && inventory.declined.isEmpty)
        #expect(!inventory.hasEndpoints(on: Part.network) && inventory.network(of: Part.network) == nil)
    }
}
