import Foundation
import OverlayDriver
import OverlayModel

/// Checks that engines 20.10 to 29 make on an answer: those of the client in `pkg/plugins`, of `drivers/remote` and `ipams/remote`,
/// and of libnetwork behind them. A problem is a sentence; without any the command goes on.
enum EngineAcceptance {
    static func problems(path: String, request: OptionValue?, answer: RawAnswer) -> [String] {
        var check = Check(path: path)
        guard answer.status == 200 else { return ["\(path): status \(answer.status): \(answer.text)"] }
        guard let json = try? JSONDecoder().decode(OptionValue.self, from: Data(answer.body)) else {
            return ["\(path): not one JSON value: \(answer.text)"]
        }
        let fields: [String: OptionValue]
        switch json {
        case .null: fields = [:]
        case .object(let object): fields = object
        default: return ["\(path): not an object: \(answer.text)"]
        }
        check.failure(fields)
        check.method(request: request?.object ?? [:], fields: fields)
        return check.problems
    }

    private struct Check {
        let path: String
        var problems: [String] = []

        mutating func problem(_ text: String) { problems.append("\(path): \(text)") }

        /// Error of a call: `Err` for the network driver, `Error` for IPAM.
        mutating func failure(_ fields: [String: OptionValue]) {
            for name in ["Err", "Error"] {
                switch fields[name] {
                case nil, .null, .string(""): break
                case .string(let text): problem("\(name): \(text)")
                default: problem("\(name) is not text")
                }
            }
        }

        /// String field as Go decodes it: absent and null are "".
        mutating func text(_ fields: [String: OptionValue], _ name: String) -> String {
            switch fields[name] {
            case nil, .null: return ""
            case .string(let text): return text
            default:
                problem("\(name) is not text")
                return ""
            }
        }

        mutating func boolean(_ fields: [String: OptionValue], _ name: String) {
            switch fields[name] {
            case nil, .null, .bool: break
            default: problem("\(name) is not a boolean")
            }
        }

        mutating func object(_ fields: [String: OptionValue], _ name: String) -> [String: OptionValue] {
            switch fields[name] {
            case nil, .null: return [:]
            case .object(let object): return object
            default:
                problem("\(name) is not an object")
                return [:]
            }
        }

        mutating func prefix(_ text: String, _ name: String) -> IPPrefix? {
            guard let prefix = IPPrefix(text) else {
                problem("\(name) \(text) is not in CIDR form")
                return nil
            }
            return prefix
        }

        mutating func method(request: [String: OptionValue], fields: [String: OptionValue]) {
            switch path {
            case "/Plugin.Activate":
                guard case .list(let kinds)? = fields["Implements"] else { return problem("Implements is not a list") }
                for kind in ["NetworkDriver", "IpamDriver"] where !kinds.contains(.string(kind)) {
                    problem("does not implement \(kind)")
                }
            case "/NetworkDriver.GetCapabilities":
                if !["local", "global"].contains(text(fields, "Scope")) { problem("bad Scope") }
                if !["", "local", "global"].contains(text(fields, "ConnectivityScope")) { problem("bad ConnectivityScope") }
                boolean(fields, "GwAllocChecker")
            case "/IpamDriver.GetCapabilities":
                boolean(fields, "RequiresMACAddress")
                boolean(fields, "RequiresRequestReplay")
            case "/IpamDriver.GetDefaultAddressSpaces":
                if text(fields, "LocalDefaultAddressSpace").isEmpty { problem("no LocalDefaultAddressSpace") }
                if text(fields, "GlobalDefaultAddressSpace").isEmpty { problem("no GlobalDefaultAddressSpace") }
            case "/NetworkDriver.GwAllocCheck":
                boolean(fields, "SkipIPv4")
                boolean(fields, "SkipIPv6")
            case "/NetworkDriver.AllocateNetwork":
                for (name, value) in object(fields, "Options") where value.string == nil {
                    problem("the option \(name) is not text")
                }
            case "/NetworkDriver.EndpointOperInfo":
                _ = object(fields, "Value")
            case "/NetworkDriver.CreateEndpoint":
                interface(request["Interface"]?.object ?? [:], object(fields, "Interface"))
            case "/NetworkDriver.Join":
                join(fields)
            case "/IpamDriver.RequestPool":
                if text(fields, "PoolID").isEmpty { problem("no PoolID") }
                guard let pool = prefix(text(fields, "Pool"), "Pool") else { return }
                if !pool.isNetwork { problem("Pool \(pool) has host bits") }
                if let wanted = request["Pool"]?.string, !wanted.isEmpty, wanted != pool.description {
                    problem("Pool \(pool), not \(wanted)")
                }
                if (pool.family == .v6) != (request["V6"]?.bool ?? false) { problem("Pool \(pool) is of the other family") }
                for (name, value) in object(fields, "Data") {
                    guard let text = value.string else { return problem("Data[\(name)] is not text") }
                    if name == OptionName.gateway, let gateway = prefix(text, "the gateway"), !pool.contains(gateway.address) {
                        problem("the gateway \(gateway) is not in \(pool)")
                    }
                }
            case "/IpamDriver.RequestAddress":
                guard let address = prefix(text(fields, "Address"), "Address") else { return }
                if let wanted = request["Address"]?.string, !wanted.isEmpty, IPAddress(wanted) != address.address {
                    problem("Address \(address), not \(wanted)")
                }
                for (name, value) in object(fields, "Data") where value.string == nil { problem("Data[\(name)] is not text") }
            default:
                break
            }
        }

        /// `parseInterface`, then `SetMacAddress` and `SetIPAddress`: a field that the request had set may not come back.
        mutating func interface(_ asked: [String: OptionValue], _ answered: [String: OptionValue]) {
            for name in ["Address", "AddressIPv6", "MacAddress"] {
                let value = text(answered, name)
                if value.isEmpty { continue }
                if asked[name]?.string?.isEmpty == false { problem("driver modified \(name), which was set") }
                if name == "MacAddress" {
                    if MACAddress(value) == nil { problem("bad MacAddress \(value)") }
                } else {
                    _ = prefix(value, name)
                }
            }
        }

        mutating func join(_ fields: [String: OptionValue]) {
            let names = object(fields, "InterfaceName")
            // IFNAMSIZ includes the NUL.
            if !(1...15).contains(text(names, "SrcName").utf8.count) { problem("bad SrcName") }
            if text(names, "DstPrefix").isEmpty { problem("no DstPrefix") }
            for name in ["Gateway", "GatewayIPv6"] {
                let gateway = text(fields, name)
                if !gateway.isEmpty, IPAddress(gateway) == nil { problem("bad \(name) \(gateway)") }
            }
            guard case .list(let routes)? = fields["StaticRoutes"] else { return }
            for route in routes {
                // An empty destination is a nil dereference in engine 28.
                if IPPrefix(route.object?["Destination"]?.string ?? "") == nil { problem("bad Destination of a static route") }
            }
        }
    }
}
