import OverlayDNS
import OverlayDriver
import OverlayModel
import Testing

@testable import OverlayNode

@Suite struct OtherNetworksTests {
    private static let path = "/run/docker/netns/1"
    private static let plain = Part.engineNetwork(5)
    private static let first = ContainerID(unchecked: String(repeating: "a", count: 64))
    private static let second = ContainerID(unchecked: String(repeating: "b", count: 64))

    private static func container(_ id: ContainerID, _ name: String, on network: EngineNetworkID = plain, isThere: Bool = true)
        -> EngineContainer
    {
        EngineContainer(
            id: id, name: name,
            attachments: [.init(network: network, networkName: "p", endpoint: isThere ? Part.endpoint(9) : nil, aliases: ["Db"])])
    }

    private func names(_ others: OtherNetworks) -> [String]? { others.tables[Self.plain]?.names.sorted() }

    @Test func namesAreKnownAsLongAsASandboxNeedsThem() {
        var others = OtherNetworks()
        others.learn(Self.container(Self.first, "one"))
        #expect(others.need([Self.plain], in: Self.path, now: .zero) == [Self.plain])
        #expect(others.need([Self.plain], in: Self.path, now: .zero).isEmpty)
        #expect(others.need([Self.plain], in: "/other", now: .zero).isEmpty)
        #expect(names(others) == [] && others.tables[Self.plain]?.isComplete == false)
        #expect(others.listed([Self.first, Self.second], on: Self.plain) == [Self.first, Self.second])
        others.learn(Self.container(Self.first, "one"))
        #expect(others.tables[Self.plain]?.isComplete == false)
        // One that has gone meanwhile.
        others.forget(Self.second, on: nil)
        #expect(names(others) == ["db", "one"] && others.tables[Self.plain]?.isComplete == true)
        others.connected(Self.second, on: Self.plain, now: .zero)
        #expect(others.tables[Self.plain]?.isComplete == false)
        others.learn(Self.container(Self.second, "two"))
        #expect(names(others) == ["db", "one", "two"] && others.tables[Self.plain]?.isComplete == true)
        // It is on another network now, or has stopped.
        others.learn(Self.container(Self.first, "one", on: Part.engineNetwork(6)))
        #expect(names(others) == ["db", "two"])
        others.learn(Self.container(Self.second, "two", isThere: false))
        #expect(names(others) == [])
        #expect(others.need([], in: Self.path, now: .zero).isEmpty && others.isWatched(Self.plain))
        #expect(others.need([], in: "/other", now: .zero).isEmpty && !others.isWatched(Self.plain))
    }

    private func told(_ others: inout OtherNetworks) -> [OtherNames?] {
        var outbox = Part.outbox()
        others.tell(into: &outbox)
        return outbox.take().compactMap { effect -> OtherNames?? in
            if case .otherNames(let id, let names) = effect, id == Self.plain { .some(names) } else { nil }
        }
    }

    @Test func changesAreToldOnce() {
        var others = OtherNetworks()
        _ = others.need([Self.plain], in: Self.path, now: .zero)
        let none: [String] = []
        #expect(told(&others) == [OtherNames(names: none, isComplete: false)] && told(&others).isEmpty)
        _ = others.listed([], on: Self.plain)
        #expect(told(&others) == [OtherNames(names: none, isComplete: true)])
        _ = others.need([], in: Self.path, now: .zero)
        #expect(told(&others) == [nil])
    }

    @Test func nothingIsWaitedForForEver() {
        var others = OtherNetworks()
        _ = others.need([Self.plain], in: Self.path, now: .zero)
        _ = others.listed([Self.first], on: Self.plain)
        #expect(others.nextDeadline == .seconds(10))
        others.expire(at: .seconds(9))
        #expect(others.tables[Self.plain]?.isComplete == false)
        others.expire(at: .seconds(10))
        #expect(others.tables[Self.plain]?.isComplete == true && others.nextDeadline == nil)
    }

    /// Names are not answered on Docker's default network, nor on our own by Docker.
    @Test func placesAreThoseOfOthersWithNames() {
        var container = Self.container(Self.first, "one")
        container.attachments += ["bridge", "host", "none", "ours"].enumerated().map { index, name in
            .init(network: Part.engineNetwork(index), networkName: name, endpoint: nil, priority: 3)
        }
        let places = OtherNetworks.places(of: container) { $0 == Part.engineNetwork(3) }
        #expect(places == [.init(network: Self.plain, name: "p", priority: 0)])
    }
}
