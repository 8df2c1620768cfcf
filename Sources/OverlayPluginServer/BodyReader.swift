import OverlayDriver
import OverlayModel

/// Reads the body of one call. Its errors name the method, and the network and endpoint as far as they are known.
struct BodyReader {
    let method: String
    let body: [UInt8]

    /// The method, and what the call is about.
    private func failure(_ cause: String, network: EngineNetworkID? = nil, endpoint: EndpointID? = nil) -> ProtocolError {
        var subject = method
        if let network { subject += " on network \(network.short)" }
        if let endpoint { subject += " for endpoint \(endpoint.short)" }
        return ProtocolError(.malformed, "\(subject): \(cause)")
    }

    private func decode<T: Decodable>(_ type: T.Type) throws(ProtocolError) -> T {
        // An engine that lost its connection after it had sent the body sends the call again with an empty one
        // (`pkg/plugins/client.go` reads its buffer twice). That is never a call with default values.
        guard body.contains(where: { !Self.whitespace.contains($0) }) else {
            throw failure("the body is empty; engines do this when they repeat a call whose connection broke: run the command again")
        }
        switch JSONForm.decode(type, from: body) {
        case .success(let value): return value
        case .failure(let error): throw failure(error.text)
        }
    }

    private static let whitespace: [UInt8] = [0x20, 0x09, 0x0A, 0x0D]

    /// A call whose content changes nothing for us; only its form is checked.
    func constant(_ request: DriverRequest) throws(ProtocolError) -> DriverRequest {
        _ = try decode(AnyBody.self)
        return request
    }

    // MARK: Network driver

    func ids() throws(ProtocolError) -> (network: EngineNetworkID, endpoint: String?) {
        let body = try decode(EndpointBody.self)
        return (try network(body.networkID), body.endpointID)
    }

    func endpointIDs() throws(ProtocolError) -> (network: EngineNetworkID, endpoint: EndpointID) {
        let (network, text) = try ids()
        return (network, try endpoint(text, network: network))
    }

    func allocateNetwork() throws(ProtocolError) -> DriverRequest {
        let options = try decode(OptionsBody.self).options ?? [:]
        return .allocateNetwork(options: options.compactMapValues(\.string))
    }

    func createNetwork() throws(ProtocolError) -> DriverRequest {
        let body = try decode(CreateNetworkBody.self)
        let network = try network(body.networkID)
        let v4 = body.v4 ?? []
        let v6 = body.v6 ?? []
        guard v4.count + v6.count <= Limits.subnetsPerNetwork else {
            throw failure("\(v4.count + v6.count) subnets are more than the limit of \(Limits.subnetsPerNetwork)", network: network)
        }
        return .createNetwork(
            CreateNetwork(
                network: network,
                options: body.options ?? [:],
                v4: try addressing(v4, field: "IPv4Data", family: .v4, network: network),
                v6: try addressing(v6, field: "IPv6Data", family: .v6, network: network)
            )
        )
    }

    private func addressing(
        _ list: [IPAMBody], field: String, family: IPAddress.Family, network: EngineNetworkID
    ) throws(ProtocolError) -> [IPAMData] {
        var result: [IPAMData] = []
        for (index, item) in list.enumerated() {
            let field = "\(field)[\(index)]"
            var auxiliary: [String: IPPrefix] = [:]
            let given = item.auxiliary ?? [:]
            guard given.count <= Limits.auxiliaryAddresses else {
                throw failure("\(given.count) aux addresses are more than the limit of \(Limits.auxiliaryAddresses)", network: network)
            }
            for (name, text) in given {
                auxiliary[name] = try prefix(text, field: "\(field).AuxAddresses[\(excerpt(name))]", family: family, network: network)
            }
            result.append(
                IPAMData(
                    addressSpace: item.addressSpace ?? "",
                    pool: try prefix(item.pool, field: "\(field).Pool", family: family, network: network),
                    gateway: try prefix(item.gateway, field: "\(field).Gateway", family: family, network: network),
                    auxiliary: auxiliary
                )
            )
        }
        return result
    }

    func createEndpoint() throws(ProtocolError) -> DriverRequest {
        let body = try decode(CreateEndpointBody.self)
        let network = try network(body.networkID)
        let endpoint = try endpoint(body.endpointID, network: network)
        let interface = body.interface
        var mac: MACAddress?
        if let text = interface?.mac, !text.isEmpty {
            mac = try self.mac(text, field: "Interface.MacAddress", network: network, endpoint: endpoint)
        }
        return .createEndpoint(
            CreateEndpoint(
                network: network,
                endpoint: endpoint,
                v4: try prefix(interface?.v4, field: "Interface.Address", family: .v4, network: network, endpoint: endpoint),
                v6: try prefix(interface?.v6, field: "Interface.AddressIPv6", family: .v6, network: network, endpoint: endpoint),
                mac: mac,
                options: body.options ?? [:]
            )
        )
    }

    func join() throws(ProtocolError) -> DriverRequest {
        let body = try decode(JoinBody.self)
        let network = try network(body.networkID)
        let endpoint = try endpoint(body.endpointID, network: network)
        guard let key = body.sandboxKey, key.hasPrefix("/"), key.utf8.count <= Limits.stringBytes, !key.utf8.contains(0) else {
            throw failure(
                "SandboxKey \(excerpt(body.sandboxKey ?? "")) is not the path of a network namespace", network: network, endpoint: endpoint)
        }
        return .join(Join(network: network, endpoint: endpoint, sandboxKey: key))
    }

    // MARK: IPAM

    func requestPool() throws(ProtocolError) -> DriverRequest {
        let body = try decode(RequestPoolBody.self)
        let family: IPAddress.Family = body.v6 ?? false ? .v6 : .v4
        let options = body.options ?? [:]
        var networkName: String?
        switch options[OptionName.net] {
        case nil, .null, .string(""): break
        case .string(let name) where name.utf8.count <= Limits.stringBytes: networkName = name
        case .string(let name): throw failure("the --ipam-opt \(OptionName.net)=\(excerpt(name)) is too long")
        case .bool, .number, .list, .object: throw failure("the --ipam-opt \(OptionName.net) is not text")
        }
        return .requestPool(
            RequestPool(
                addressSpace: body.addressSpace ?? "",
                pool: try prefix(body.pool, field: "Pool", family: family),
                subPool: try prefix(body.subPool, field: "SubPool", family: family),
                networkName: networkName,
                family: family
            )
        )
    }

    func releasePool() throws(ProtocolError) -> DriverRequest {
        .releasePool(try pool(try decode(AddressBody.self).poolID))
    }

    func requestAddress() throws(ProtocolError) -> DriverRequest {
        let body = try decode(AddressBody.self)
        let pool = try pool(body.poolID)
        let address = try address(body.address, pool: pool)
        let options = body.options ?? [:]

        let purpose: RequestAddress.Purpose
        if options[OptionName.requestAddressType]?.string == OptionName.gateway {
            purpose = .gateway
        } else {
            switch options[OptionName.macAddress] {
            case .string(let text) where !text.isEmpty:
                purpose = .endpoint(try mac(text, field: "the option \(OptionName.macAddress)", pool: pool))
            case nil, .null, .string:
                guard address != nil else {
                    throw failure(
                        "the engine sent neither a MAC address nor an address for \(pool); it asked for our capabilities in vain: "
                            + "restart the engine")
                }
                purpose = .auxiliary
            case .bool, .number, .list, .object:
                throw failure("the option \(OptionName.macAddress) for \(pool) is not text")
            }
        }
        return .requestAddress(RequestAddress(pool: pool, address: address, purpose: purpose))
    }

    func releaseAddress() throws(ProtocolError) -> DriverRequest {
        let body = try decode(AddressBody.self)
        let pool = try pool(body.poolID)
        guard let address = try address(body.address, pool: pool) else { throw failure("Address is missing for \(pool)") }
        return .releaseAddress(pool, address)
    }

    // MARK: Fields

    private func network(_ text: String?) throws(ProtocolError) -> EngineNetworkID {
        guard let text, !text.isEmpty else { throw failure("NetworkID is missing") }
        guard let id = EngineNetworkID(text) else { throw failure("NetworkID \(excerpt(text)) is not an id of an engine") }
        return id
    }

    private func endpoint(_ text: String?, network: EngineNetworkID) throws(ProtocolError) -> EndpointID {
        guard let text, !text.isEmpty else { throw failure("EndpointID is missing", network: network) }
        guard let id = EndpointID(text) else {
            throw failure("EndpointID \(excerpt(text)) is not an id of an engine", network: network)
        }
        return id
    }

    private func pool(_ text: String?) throws(ProtocolError) -> SubnetID {
        guard let text, !text.isEmpty else { throw failure("PoolID is missing") }
        // One text per pool: `init` takes capitals and a sign too.
        guard let id = SubnetID(text), id.description == text else {
            throw failure("PoolID \(excerpt(text)) is none that this plugin gave out")
        }
        return id
    }

    /// An address with a length; nil when the engine left it open.
    private func prefix(
        _ text: String?, field: String, family: IPAddress.Family, network: EngineNetworkID? = nil, endpoint: EndpointID? = nil
    ) throws(ProtocolError) -> IPPrefix? {
        guard let text, !text.isEmpty else { return nil }
        guard let prefix = IPPrefix(text), prefix.family == family else {
            throw failure(
                "\(field) \(excerpt(text)) is not an IPv\(family.rawValue) address with a prefix length", network: network, endpoint: endpoint)
        }
        return prefix
    }

    /// An address without a length; nil when the engine left it open.
    private func address(_ text: String?, pool: SubnetID) throws(ProtocolError) -> IPAddress? {
        guard let text, !text.isEmpty else { return nil }
        guard let address = IPAddress(text) else { throw failure("Address \(excerpt(text)) for \(pool) is not an IP address") }
        return address
    }

    private func mac(
        _ text: String, field: String, pool: SubnetID? = nil, network: EngineNetworkID? = nil, endpoint: EndpointID? = nil
    ) throws(ProtocolError) -> MACAddress {
        let place = pool.map { " for \($0)" } ?? ""
        guard let mac = MACAddress(text), !mac.isMulticast, mac != .zero else {
            throw failure(
                "\(field) \(excerpt(text))\(place) is not the MAC address of an interface", network: network, endpoint: endpoint)
        }
        return mac
    }
}
