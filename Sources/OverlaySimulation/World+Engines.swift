public import OverlayDatapath
public import OverlayModel

extension World: PluginCaller {
    public struct Failed: Error, CustomStringConvertible {
        public var description: String
        public init(_ description: String) { self.description = description }
    }

    public struct Attached {
        public var endpoint: EndpointID
        public var network: EngineNetworkID
        public var pool: SubnetID
        public var address: IPAddress
        public var mac: MACAddress
    }

    public struct Created {
        public var network: EngineNetworkID
        public var pool: SubnetID
        public var prefix: IPPrefix

        public init(network: EngineNetworkID, pool: SubnetID, prefix: IPPrefix) {
            self.network = network
            self.pool = pool
            self.prefix = prefix
        }
    }

    public func endPair(_ index: Int, of endpoint: EndpointID) { nodes[index].kernel.endPair(KernelName.port(endpoint)) }

    public func addRoutes(_ index: Int, _ destinations: [IPPrefix], through mac: MACAddress, in sandbox: String) throws {
        try nodes[index].kernel.addNewRoutes(destinations, through: mac, in: sandbox)
    }
    public func removeLink(_ index: Int, _ mac: MACAddress) { nodes[index].kernel.removeLink(mac) }
    /// State of the only network in a node's kernel; nil if there is none, or more than one.
    public func kernel(_ index: Int) -> NetworkState? {
        let networks = nodes[index].kernel.state.networks
        return networks.count == 1 ? networks.values.first : nil
    }
}
