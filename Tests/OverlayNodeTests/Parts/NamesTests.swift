import OverlayDNS
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct NamesTests {
    private static func named(_ digit: Int, _ names: String..., address: UInt8 = 5) -> NamedEndpoint {
        NamedEndpoint(endpoint: Part.endpoint(digit), names: names, addresses: [Part.address(address)])
    }

    /// Names with a table of one network, which the shell has.
    private static func names(_ endpoints: NamedEndpoint...) -> Names {
        var names = Names()
        names.rebuild(Part.network, title: "net", from: endpoints)
        _ = told(&names)
        return names
    }

    private static func told(_ names: inout Names) -> [NetworkID: [String: [IPAddress]]?] {
        var outbox = Part.outbox()
        names.tell(into: &outbox)
        return outbox.take().reduce(into: [:]) { told, effect in
            if case .names(let network, let table) = effect { told.updateValue(table?.all, forKey: network) }
        }
    }

    @Test func namesOfANetworkThatIsNotFollowedAreDropped() {
        var names = Names()
        names.change(Part.network, from: nil, to: Self.named(1, "a"))
        names.setOwn(Self.named(2, "b"), on: Part.network)
        #expect(names.tables.isEmpty && Self.told(&names).isEmpty)
        // They are known still, for the day on which it is.
        #expect(names.own(Part.endpoint(2)) == Self.named(2, "b"))
    }

    @Test func whatChangesIsToldOnceAndBeforeAllElseOfTheTurn() {
        var names = Self.names()
        names.change(Part.network, from: nil, to: Self.named(1, "a"))
        var outbox = Part.outbox()
        outbox.append(.makeKey)
        names.tell(into: &outbox)
        #expect(outbox.take().kinds == ["names", "makeKey"])
        names.tell(into: &outbox)
        #expect(outbox.take().isEmpty)
    }

    @Test func networksAreToldInOrderOfTheirIds() {
        var names = Names()
        for bits in [3, 1, 2] as [UInt128] { names.rebuild(NetworkID(bits: bits), title: "", from: []) }
        var outbox = Part.outbox()
        names.tell(into: &outbox)
        let order = outbox.take().map { if case .names(let id, _) = $0 { id.bits } else { 0 as UInt128 } }
        #expect(order == [1, 2, 3])
    }

    @Test func anEndpointAppearsChangesAndGoes() {
        var names = Self.names()
        names.change(Part.network, from: nil, to: Self.named(1, "a"))
        #expect(Self.told(&names) == [Part.network: ["a": [Part.address(5)]]])
        names.change(Part.network, from: Self.named(1, "a"), to: Self.named(1, "b", address: 6))
        #expect(Self.told(&names) == [Part.network: ["b": [Part.address(6)]]])
        names.change(Part.network, from: Self.named(1, "b", address: 6), to: Self.named(1, "b", address: 6))
        #expect(Self.told(&names).isEmpty)
        names.change(Part.network, from: Self.named(1, "b", address: 6), to: nil)
        #expect(Self.told(&names) == [Part.network: [:]])
    }

    @Test func namesOfThisHostTakeThePlaceOfTheirOldOnes() {
        var names = Self.names()
        names.setOwn(Self.named(1, "a"), on: Part.network)
        names.setOwn(Self.named(1, "b"), on: Part.network)
        #expect(names.tables[Part.network]?.all == ["b": [Part.address(5)]] && names.own(Part.endpoint(1)) == Self.named(1, "b"))
        _ = Self.told(&names)
        names.setOwn(Self.named(1, "b"), on: Part.network)
        #expect(Self.told(&names).isEmpty)
        names.dropOwn(Part.endpoint(1), on: Part.network)
        #expect(names.tables[Part.network]?.all == [:] && names.own(Part.endpoint(1)) == nil)
        names.dropOwn(Part.endpoint(1), on: Part.network)
        #expect(Self.told(&names).count == 1)
    }

    @Test func aNetworkThatIsFollowedNoMoreIsToldToBeOfNoConcern() {
        var names = Self.names(Self.named(1, "a"))
        names.rebuild(Part.other, title: "other", from: [])
        _ = Self.told(&names)
        names.keepOnly([Part.other])
        #expect(Set(names.tables.keys) == [Part.other])
        let told = Self.told(&names)
        #expect(Set(told.keys) == [Part.network] && told[Part.network] == .some(nil))
        names.keepOnly([Part.other])
        #expect(Self.told(&names).isEmpty)
    }

    @Test func aTableIsMadeAnewWithItsTitle() {
        var names = Self.names(Self.named(1, "a"))
        names.rebuild(Part.network, title: "Shop", from: [Self.named(2, "b")])
        #expect(names.tables[Part.network]?.title == "shop" && Self.told(&names) == [Part.network: ["b": [Part.address(5)]]])
    }

    @Test func aTableHoldsItsEndpointsInWhateverOrderAndNoOthers() {
        let names = Self.names(Self.named(1, "a"), Self.named(2, "b"))
        #expect(names.holds([Self.named(2, "b"), Self.named(1, "a")], on: Part.network))
        #expect(!names.holds([Self.named(1, "a")], on: Part.network))
        #expect(!names.holds([Self.named(1, "a"), Self.named(2, "c")], on: Part.network))
        #expect(!names.holds([], on: Part.other))
    }

    @Test func subnetsAreToldWhenTheyChange() throws {
        var names = Names()
        var outbox = Part.outbox()
        let prefix = try #require(IPPrefix(Part.address(0), length: 24))
        names.setSubnets([], into: &outbox)
        #expect(outbox.take().isEmpty)
        names.setSubnets([prefix], into: &outbox)
        names.setSubnets([prefix], into: &outbox)
        #expect(outbox.take().kinds == ["subnets"])
    }
}
