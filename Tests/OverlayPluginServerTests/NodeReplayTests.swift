import Foundation
import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel
import OverlayNode
import OverlaySimulation
import Testing

/// Recordings of real engines against our server with the shipped node core behind it, on a disk and a kernel that are values.
@Suite struct NodeReplayTests {
    /// Cluster of one node, driven by real calls in virtual time.
    actor Node {
        private let world: World

        init() throws {
            world = try World(count: 1)
            guard world.makeCluster() else { throw World.Failed("no cluster") }
        }

        private(set) var refusals: [String] = []

        /// The recordings ask for an encrypted network, which this version refuses. The refusal is checked, and the network is
        /// created without.
        func perform(_ request: DriverRequest) -> DriverResponse {
            let response = world.call(0, request)
            guard case .failed(let error) = response, case .createNetwork(var call) = request,
                case .object(var generic) = call.options[OptionName.generic],
                generic.removeValue(forKey: OptionName.encrypted) != nil
            else { return response }
            refusals.append(error.message)
            call.options[OptionName.generic] = .object(generic)
            return world.call(0, .createNetwork(call))
        }

        /// State that is left when all networks are gone.
        func leftovers() -> [String] {
            world.run(for: .seconds(10))
            let node = world.nodes[0]
            var left = node.kernel.state.networks.keys.map { "kernel: \($0)" }
            left += node.core.catalogue.networks.values.map { "catalogue: \($0.vni) \($0.subnets.map(\.prefix))" }
            for space in [StoreSpace.lease, .endpoint, .network, .closing] {
                left += node.rows[space, default: [:]].keys.map { "\(space): \(String(decoding: $0, as: UTF8.self))" }
            }
            return left
        }
    }

    @Test(arguments: ["20.10", "28.5"])
    func `The node answers what engines sent, and keeps nothing`(engine: String) async throws {
        let node = try Node()
        let report = try await replay(transcripts: ReplayTests.transcripts, engine: engine) { await node.perform($0) }
        // A network with the engine's own IPAM is refused on purpose, and so is what follows on it.
        let ownIPAM = report.problems.filter { $0.hasPrefix("18-default-ipam") }
        #expect(ownIPAM.contains { $0.contains("--ipam-driver swift-overlay") })
        #expect(report.problems.filter { !$0.hasPrefix("18-default-ipam") } == [])
        #expect(await node.refusals.count == 1)
        #expect(report.outstanding == [])
        #expect(await node.leftovers() == [])
    }
}
