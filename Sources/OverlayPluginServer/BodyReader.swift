import OverlayDriver
import OverlayModel

/// Reader of the body of one call. Its errors name the method, and the network and endpoint as soon as they are known.
///
/// Absent, `null` and empty fields are the same, as in Go. Fields that are not read may be of any type.
struct BodyReader {
    private let method: String
    private let fields: [String: OptionValue]
    private var network: EngineNetworkID?
    private var endpoint: EndpointID?
    private var pool: SubnetID?

    init(method: String, body: [UInt8]) throws(ProtocolError) {
        self.method = method
        // An engine that lost its connection after it had sent the body sends the call again with an empty one
        // (`pkg/plugins/client.go` reads its buffer twice). It is never a call with default values.
        guard body.contains(where: { $0 != 0x20 && $0 != 0x09 && $0 != 0x0A && $0 != 0x0D }) else {
            throw ProtocolError(
                .malformed,
                "\(method): the body is empty; engines do this when they repeat a call whose connection broke: run the command again"
            )
        }
        do throws(JSONFailure) {
            guard case .object(let fields) = try JSONText.parse(body) else {
                throw JSONFailure(text: "the body is not a JSON object")
            }
            self.fields = fields
        } catch {
            throw ProtocolError(.malformed, "\(method): \(error.text)")
        }
    }

    private func failure(_ cause: String) -> ProtocolError {
        var subject = method
        if let network { subject += " on network \(network.short)" }
        if let endpoint { subject += " for endpoint \(endpoint.short)" }
        if let pool { subject += " for \(pool)" }
        return ProtocolError(.malformed, "\(subject): \(cause)")
    }

    // MARK: Network driver

    func allocateNetwork() throws(ProtocolError) -> DriverRequest {
        .allocateNetwork(options: try object(fields, "Options").compactMapValues(\.string))
    }

    mutating func createNetwork() throws(ProtocolError) -> DriverRequest {
        let network = try networkID()
        let v4 = try addressing("IPv4Data", family: .v4)
        let v6 = try addressing("IPv6Data", family: .v6)
        guard v4.count + v6.count <= Limits.subnetsPerNetwork else {
            throw failure("\(v4.count + v6.count) subnets are more than the limit of \(Limits.subnetsPerNetwork)")
        }
        return .createNetwork(CreateNetwork(network: network, options: try object(fields, "Options"), v4: v4, v6: v6))
    }

    private func addressing(_ name: String, family: IPAddress.Family) throws(ProtocolError) -> [IPAMData] {
        var result: [IPAMData] = []
        for (index, item) in try list(fields, name).enumerated() {
            let place = "\(name)[\(index)]"
            guard case .object(let data) = item else { throw failure("the field \(place) is \(kind(item)), not an object") }
            let given = try object(data, "AuxAddresses", in: place)
            guard given.count <= Limits.auxiliaryAddresses else {
                throw failure("\(given.count) aux addresses are more than the limit of \(Limits.auxiliaryAddresses)")
            }
            var auxiliary: [String: IPPrefix] = [:]
            for name in given.keys { auxiliary[name] = try prefix(given, name, in: "\(place).AuxAddresses", family: family) }
            result.append(
                IPAMData(
                    addressSpace: try text(data, "AddressSpace", in: place),
                    pool: try prefix(data, "Pool", in: place, family: family),
                    gateway: try prefix(data, "Gateway", in: place, family: family),
                    auxiliary: auxiliary
                )
            )
        }
        return result
    }

    mutating func deleteNetwork() throws(ProtocolError) -> DriverRequest { .deleteNetwork(try networkID()) }

    mutating func createEndpoint() throws(ProtocolError) -> DriverRequest {
        let (network, endpoint) = try ids()
        let interface = try object(fields, "Interface")
        let mac = try text(interface, "MacAddress", in: "Interface")
        return .createEndpoint(
            CreateEndpoint(
                network: network,
                endpoint: endpoint,
                v4: try prefix(interface, "Address", in: "Interface", family: .v4),
                v6: try prefix(interface, "AddressIPv6", in: "Interface", family: .v6),
                mac: mac.isEmpty ? nil : try self.mac(mac, field: "Interface.MacAddress"),
                options: try object(fields, "Options")
            )
        )
    }

    mutating func join() throws(ProtocolError) -> DriverRequest {
        let (network, endpoint) = try ids()
        let key = try text(fields, "SandboxKey")
        guard key.hasPrefix("/"), key.utf8.count <= Limits.stringBytes, !key.utf8.contains(0) else {
            throw failure("SandboxKey \(excerpt(key)) is not the path of a network namespace")
        }
        return .join(Join(network: network, endpoint: endpoint, sandboxKey: key))
    }

    mutating func leave() throws(ProtocolError) -> DriverRequest {
        let (network, endpoint) = try ids()
        return .leave(network: network, endpoint: endpoint)
    }

    mutating func deleteEndpoint() throws(ProtocolError) -> DriverRequest {
        let (network, endpoint) = try ids()
        return .deleteEndpoint(network: network, endpoint: endpoint)
    }

    // MARK: IPAM

    func requestPool() throws(ProtocolError) -> DriverRequest {
        let family: IPAddress.Family
        switch fields["V6"] {
        case nil, .null, .bool(false): family = .v4
        case .bool(true): family = .v6
        case .some(let other): throw failure("the field V6 is \(kind(other)), not a boolean")
        }
        let name = try text(try object(fields, "Options"), OptionName.net, in: "Options")
        guard name.utf8.count <= Limits.stringBytes else {
            throw failure("the --ipam-opt \(OptionName.net)=\(excerpt(name)) is too long")
        }
        return .requestPool(
            RequestPool(
                addressSpace: try text(fields, "AddressSpace"),
                pool: try prefix(fields, "Pool", family: family),
                subPool: try prefix(fields, "SubPool", family: family),
                networkName: name.isEmpty ? nil : name,
                family: family
            )
        )
    }

    mutating func releasePool() throws(ProtocolError) -> DriverRequest { .releasePool(try poolID()) }

    mutating func requestAddress() throws(ProtocolError) -> DriverRequest {
        let pool = try poolID()
        let address = try address()
        let options = try object(fields, "Options")
        let purpose: RequestAddress.Purpose
        if options[OptionName.requestAddressType]?.string == OptionName.gateway {
            purpose = .gateway
        } else {
            let mac = try text(options, OptionName.macAddress, in: "Options")
            if !mac.isEmpty {
                purpose = .endpoint(try self.mac(mac, field: "the option \(OptionName.macAddress)"))
            } else if address != nil {
                purpose = .auxiliary
            } else {
                throw failure(
                    "the engine sent no MAC address, so it does not know that this IPAM driver requires one: restart the engine")
            }
        }
        let name = options[OptionName.containerName]?.string.flatMap { EndpointNames.isName($0) ? $0 : nil }
        return .requestAddress(RequestAddress(pool: pool, address: address, purpose: purpose, containerName: name))
    }

    mutating func releaseAddress() throws(ProtocolError) -> DriverRequest {
        let pool = try poolID()
        guard let address = try address() else { throw failure("Address is missing") }
        return .releaseAddress(pool, address)
    }

    // MARK: Ids and addresses

    private mutating func networkID() throws(ProtocolError) -> EngineNetworkID {
        let text = try text(fields, "NetworkID")
        guard !text.isEmpty else { throw failure("NetworkID is missing") }
        guard let id = EngineNetworkID(text) else { throw failure("NetworkID \(excerpt(text)) is not an id of an engine") }
        network = id
        return id
    }

    private mutating func ids() throws(ProtocolError) -> (network: EngineNetworkID, endpoint: EndpointID) {
        let network = try networkID()
        let text = try text(fields, "EndpointID")
        guard !text.isEmpty else { throw failure("EndpointID is missing") }
        guard let id = EndpointID(text) else { throw failure("EndpointID \(excerpt(text)) is not an id of an engine") }
        endpoint = id
        return (network, id)
    }

    private mutating func poolID() throws(ProtocolError) -> SubnetID {
        let text = try text(fields, "PoolID")
        guard !text.isEmpty else { throw failure("PoolID is missing") }
        // One text per pool: the initialiser accepts capitals and a sign, too.
        guard let id = SubnetID(text), id.description == text else {
            throw failure("PoolID \(excerpt(text)) is none that this plugin gave out")
        }
        pool = id
        return id
    }

    /// Address without a prefix length; nil if the engine left it open.
    private func address() throws(ProtocolError) -> IPAddress? {
        let text = try text(fields, "Address")
        if text.isEmpty { return nil }
        guard let address = IPAddress(text) else { throw failure("Address \(excerpt(text)) is not an IP address") }
        return address
    }

    /// Address with a prefix length; nil if the engine left it open.
    private func prefix(
        _ fields: [String: OptionValue], _ name: String, in place: String = "", family: IPAddress.Family
    ) throws(ProtocolError) -> IPPrefix? {
        let text = try text(fields, name, in: place)
        if text.isEmpty { return nil }
        guard let prefix = IPPrefix(text), prefix.family == family else {
            throw failure("\(path(name, in: place)) \(excerpt(text)) is not an IPv\(family.rawValue) address with a prefix length")
        }
        return prefix
    }

    private func mac(_ text: String, field: String) throws(ProtocolError) -> MACAddress {
        guard let mac = MACAddress(text), !mac.isMulticast, mac != .zero else {
            throw failure("\(field) \(excerpt(text)) is not the MAC address of an interface")
        }
        return mac
    }

    // MARK: Fields

    private func path(_ name: String, in place: String) -> String {
        let name = name.utf8.count > 64 ? excerpt(name) : name
        return place.isEmpty ? name : "\(place).\(name)"
    }

    private func kind(_ value: OptionValue) -> String {
        switch value {
        case .null: "null"
        case .bool: "a boolean"
        case .number: "a number"
        case .string: "text"
        case .list: "a list"
        case .object: "an object"
        }
    }

    private func text(_ fields: [String: OptionValue], _ name: String, in place: String = "") throws(ProtocolError) -> String {
        switch fields[name] {
        case nil, .null: return ""
        case .string(let text): return text
        case .some(let other): throw failure("the field \(path(name, in: place)) is \(kind(other)), not text")
        }
    }

    private func object(
        _ fields: [String: OptionValue], _ name: String, in place: String = ""
    ) throws(ProtocolError) -> [String: OptionValue] {
        switch fields[name] {
        case nil, .null: return [:]
        case .object(let object): return object
        case .some(let other): throw failure("the field \(path(name, in: place)) is \(kind(other)), not an object")
        }
    }

    private func list(_ fields: [String: OptionValue], _ name: String) throws(ProtocolError) -> [OptionValue] {
        switch fields[name] {
        case nil, .null: return []
        case .list(let list): return list
        case .some(let other): throw failure("the field \(name) is \(kind(other)), not a list")
        }
    }
}
