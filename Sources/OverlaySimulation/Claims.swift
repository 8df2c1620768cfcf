import OverlayDatapath
import OverlayModel
import OverlayNode
import OverlayReplication

/// Containers that use addresses and MACs which nobody leased to them.
extension Workload {
    /// A container sends a frame from a MAC, which announces an address. The daemon hears it if it listens.
    ///
    /// - Parameters:
    ///   - address: Address that the frame announces; nil for a frame that announces none.
    ///   - mac: Source of the frame; nil for the container's own.
    /// - Returns: True if the frame is news to the daemon.
    @discardableResult
    func use(_ host: Int, _ attached: World.Attached, _ address: IPAddress?, from mac: MACAddress? = nil) -> Bool {
        let source = mac ?? attached.mac
        let heard = Heard(source: source, claim: address.map { Hearing.Known($0, at: source) })
        guard world.nodes[host].isUp, world.nodes[host].ears[attached.endpoint]?.passes(heard) == true else { return false }
        world.handle(host, .heard(attached.endpoint, [heard]))
        return true
    }
}

/// Claims of the endpoints of several nodes, and who has what by them.
struct ClaimedThings {
    /// Place of something claimed, with the number of the claim.
    struct Place: Hashable {
        var host: Int
        var endpoint: EndpointID
        var mac: MACAddress
        var number: UInt64
    }

    private(set) var macs: [VNI: [MACAddress: [Place]]] = [:]
    private(set) var addresses: [VNI: [IPAddress: [Place]]] = [:]

    init(of nodes: [VirtualHost], among up: [Int]) {
        for host in up {
            for (vni, claims) in nodes[host].core.localClaims {
                for one in claims.macs {
                    let place = Place(host: host, endpoint: claims.endpoint, mac: one.mac, number: one.number)
                    macs[vni, default: [:]][one.mac, default: []].append(place)
                }
                for one in claims.addresses {
                    let place = Place(host: host, endpoint: claims.endpoint, mac: one.mac, number: one.number)
                    addresses[vni, default: [:]][one.address, default: []].append(place)
                }
            }
        }
    }

    /// First thing that two endpoints claim; nil if there is none.
    func conflict() -> String? {
        for (vni, things) in macs {
            for (mac, places) in things where places.count > 1 { return "VNI \(vni): \(places.count) endpoints claim \(mac)" }
        }
        for (vni, things) in addresses {
            for (address, places) in things where places.count > 1 {
                return "VNI \(vni): \(places.count) endpoints claim \(address)"
            }
        }
        return nil
    }
}
