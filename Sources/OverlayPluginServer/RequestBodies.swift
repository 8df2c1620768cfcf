import OverlayDriver

// The bodies as engines send them, one type per shape. Every field is optional: `null`, absent and empty mean the same to Go, and a
// missing field is told by name later. Fields that we do not read are not declared, so that they may be of any JSON type.

struct AnyBody: Decodable {
    init(from decoder: any Decoder) throws {
        // Only the form counts: an object, whatever is in it.
        _ = try decoder.container(keyedBy: NoKeys.self)
    }

    private enum NoKeys: CodingKey {}
}

struct EndpointBody: Decodable {
    var networkID: String?
    var endpointID: String?

    enum CodingKeys: String, CodingKey {
        case networkID = "NetworkID"
        case endpointID = "EndpointID"
    }
}

struct OptionsBody: Decodable {
    var options: Options?

    enum CodingKeys: String, CodingKey {
        case options = "Options"
    }
}

struct CreateNetworkBody: Decodable {
    var networkID: String?
    var options: Options?
    var v4: [IPAMBody]?
    var v6: [IPAMBody]?

    enum CodingKeys: String, CodingKey {
        case networkID = "NetworkID"
        case options = "Options"
        case v4 = "IPv4Data"
        case v6 = "IPv6Data"
    }
}

struct IPAMBody: Decodable {
    var addressSpace: String?
    var pool: String?
    var gateway: String?
    var auxiliary: [String: String]?

    enum CodingKeys: String, CodingKey {
        case addressSpace = "AddressSpace"
        case pool = "Pool"
        case gateway = "Gateway"
        case auxiliary = "AuxAddresses"
    }
}

struct CreateEndpointBody: Decodable {
    struct Interface: Decodable {
        var v4: String?
        var v6: String?
        var mac: String?

        enum CodingKeys: String, CodingKey {
            case v4 = "Address"
            case v6 = "AddressIPv6"
            case mac = "MacAddress"
        }
    }

    var networkID: String?
    var endpointID: String?
    var interface: Interface?
    var options: Options?

    enum CodingKeys: String, CodingKey {
        case networkID = "NetworkID"
        case endpointID = "EndpointID"
        case interface = "Interface"
        case options = "Options"
    }
}

struct JoinBody: Decodable {
    var networkID: String?
    var endpointID: String?
    var sandboxKey: String?

    enum CodingKeys: String, CodingKey {
        case networkID = "NetworkID"
        case endpointID = "EndpointID"
        case sandboxKey = "SandboxKey"
    }
}

struct RequestPoolBody: Decodable {
    var addressSpace: String?
    var pool: String?
    var subPool: String?
    var options: Options?
    var v6: Bool?

    enum CodingKeys: String, CodingKey {
        case addressSpace = "AddressSpace"
        case pool = "Pool"
        case subPool = "SubPool"
        case options = "Options"
        case v6 = "V6"
    }
}

struct AddressBody: Decodable {
    var poolID: String?
    var address: String?
    var options: Options?

    enum CodingKeys: String, CodingKey {
        case poolID = "PoolID"
        case address = "Address"
        case options = "Options"
    }
}
