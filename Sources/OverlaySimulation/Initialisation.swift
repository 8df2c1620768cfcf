import OverlayCatalogue
import OverlayModel
import OverlayNode

extension Initialise {
    /// Call of `init` that makes the clusters of the simulation.
    static let ofSimulation = Initialise(
        cluster: ClusterID(bits: 42), addressPool: World.addressPool, subnetLength: 24, dataPathPort: 4789,
        rootKey: [UInt8](repeating: 3, count: 32), rootPublicKey: [UInt8](repeating: 4, count: 32),
        gossipKey: [UInt8](repeating: 1, count: 32),
        joinSecret: JoinSecret(secret: [UInt8](repeating: 2, count: 16), expires: 0))
}
