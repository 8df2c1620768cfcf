import Foundation
import OverlayCatalogue
import OverlayCrypto
import OverlayModel
import OverlayNode
import OverlayStore
import Testing

@testable import OverlayDaemon

/// State directories that earlier builds left, each of a host of a cluster of two whose daemons were killed: networks, endpoints and
/// leases, and on the second host also a closing, a handover, a quarantine and a declined network. Those of `0.1` were made by that
/// release, those of `1` by the last build with that schema, with a claim.
@Suite struct StateDirectoryTests {
    private final class Copy {
        let path: String

        init(of name: String) throws {
            let states = try #require(Bundle.module.url(forResource: "states", withExtension: nil))
            let source = states.appendingPathComponent(name)
            path = FileManager.default.temporaryDirectory.path + "/overlay-state-\(UInt64.random(in: 0...UInt64.max))"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
            let bytes = try Data(contentsOf: source.appendingPathComponent("state.db"))
            try bytes.write(to: URL(fileURLWithPath: path + "/state.db"))
        }

        deinit { try? FileManager.default.removeItem(atPath: path) }

        func open() async throws -> NodeState {
            var configuration = Configuration()
            configuration.stateDirectory = path
            configuration.acceptsNewMachine = true
            return try await NodeState.open(configuration, quiet)
        }
    }

    private func node(_ state: NodeState) throws -> Node {
        let address = IPAddress(v4: 10, 99, 0, 12)
        let identity = NodeIdentity(
            id: state.key.id, name: "host2", publicKey: state.key.publicBytes, agreementKey: state.key.agreementBytes,
            epoch: state.epoch, boot: state.boot, address: address, port: 7947, vtep: address, underlayMTU: 1500, routes: [])
        return try Node(identity: identity, rows: state.rows, signing: state.key.signing, seed: 1)
    }

    @Test(arguments: ["0.1", "1"]) func aStateOfAnEarlierBuildIsTakenOver(build: String) async throws {
        let copy = try Copy(of: build + "-host2")
        let state = try await copy.open()
        #expect(state.boot == 2)
        let rows = state.rows
        let counts = StoreSpace.allCases.map { rows[$0]?.count ?? 0 }
        #expect(counts == [5, 27, 1, 2, 4, 4, 1, 1, 1, 1, build == "1" ? 1 : 0], "\(StoreSpace.allCases)")
        let node = try node(state)
        #expect(node.catalogue.members.count == 2 && node.catalogue.index > 26 && node.versionProblem == nil)
        #expect(Set(node.catalogue.networks.values.compactMap(\.name)) == ["net", "inner", "gone"])
        #expect(node.catalogue.versionInUse == 2 && node.catalogue.members.values.allSatisfy { $0.versions == .silent })
        #expect(node.localRecords.count == 4 && node.localClaims.count == (build == "1" ? 1 : 0))
    }

    /// Migrated rows are of the present schema.
    @Test(arguments: ["0.1-host1", "0.1-host2", "1-host1", "1-host2"]) func itIsMigratedOnce(name: String) async throws {
        let copy = try Copy(of: name)
        let store = try StateStore(directory: copy.path, schema: StateSchema.present)
        let rows = try await store.load()
        #expect(try StateSchema.present.migrate(rows, 1).isEmpty)
        withExtendedLifetime(store) {}
    }

    @Test func aStateOfALaterReleaseIsRefusedWithWhatToDo() async throws {
        let copy = try Copy(of: "1-host1")
        let file = URL(fileURLWithPath: copy.path + "/state.db")
        var bytes = try Data(contentsOf: file)
        // user_version of the database header (SQLite file format §1.3).
        bytes[63] = 99
        try bytes.write(to: file)
        let error = try await #require(throws: StartError.self) { try await copy.open() }
        #expect(error.description.contains("by a later version of swift-overlay (schema 99, and this one knows those up to 2)"))
        #expect(error.description.contains("upgrade this daemon, or start that version again"))
    }
}
