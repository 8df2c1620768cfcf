import OverlayCatalogue
import OverlayModel
import OverlaySimulation
import Testing

@testable import OverlayNode

/// Rows that the disk of a node refuses are made up for, and are there at the next start.
@Suite struct FullDiskTests {
    /// An entry that a replica's disk refused leaves no gap below the later ones.
    @Test(arguments: 1...4 as ClosedRange<UInt64>)
    func aReplicaWhoseDiskWasFullStartsWithAllThatItKnew(seed: UInt64) throws {
        let world = try World(count: 3, seed: seed)
        try #require(world.makeCluster())
        let networks = try (0..<3).map { try world.createNetwork($0, "net") }
        _ = try world.attach(1, "before", to: networks[1])
        world.nodes[1].failsStores = true
        _ = try world.createNetwork(0, "meanwhile")
        world.run(for: .milliseconds(50))
        world.nodes[1].failsStores = false
        world.run(for: .milliseconds(Int64(seed) * 300))
        _ = try world.createNetwork(0, "after")
        world.run(for: .seconds(2))
        let index = world.nodes[0].core.catalogue.index
        #expect(world.nodes[1].core.catalogue.index == index)
        world.crash(1, keeping: 0)
        world.split([0, 2], [1])
        try world.restart(1)
        world.run(for: .milliseconds(1))
        #expect(world.nodes[1].core.catalogue.index == index)
        #expect(world.violations == [])
    }

    /// Objects that were removed while the disk was full stay removed.
    @Test func whatAFullDiskRefusedToForgetIsForgottenAfterAll() throws {
        let world = try World(count: 2)
        try #require(world.makeCluster())
        let networks = try (0..<2).map { try world.createNetwork($0, "net") }
        let other = try world.createNetwork(1, "other")
        let attached = try world.attach(1, "c", to: networks[1])
        world.nodes[1].failsStores = true
        world.detach(1, attached)
        world.removeNetwork(1, other)
        world.run(for: .seconds(10))
        // It is not given up before that is durable.
        #expect(world.nodes[0].core.catalogue.network(named: "other") != nil)
        world.nodes[1].failsStores = false
        world.run(for: .seconds(10))
        #expect(world.nodes[0].core.catalogue.network(named: "other") == nil)
        world.crash(1)
        try world.restart(1)
        world.run(for: .seconds(3))
        for space in [StoreSpace.endpoint, .lease, .closing] { #expect(world.nodes[1].rows[space, default: [:]].isEmpty) }
        #expect(world.nodes[1].rows[.network]?.count == 1)
        _ = try world.createNetwork(1, "other")
        #expect(world.violations == [])
    }
}
