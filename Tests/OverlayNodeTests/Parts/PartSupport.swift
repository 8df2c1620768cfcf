import OverlayCatalogue
import OverlayDatapath
import OverlayDriver
import OverlayModel

@testable import OverlayNode

/// Fixtures for the tests of parts: names for ids, an outbox, and the effects in it.
enum Part {
    static let network = NetworkID(bits: 1)
    static let other = NetworkID(bits: 2)
    static let subnet = SubnetID(1)
    static let node = NodeID(bits: 7)

    static func outbox(count: UInt64 = 10, at now: Instant = .zero) -> Outbox {
        var outbox = Outbox(journal: WriteJournal(count: count, announced: nil))
        outbox.begin(at: now)
        return outbox
    }

    static func address(_ last: UInt8) -> IPAddress { IPAddress(v4: 10, 0, 0, last) }

    static func range(_ first: UInt8, _ last: UInt8) -> AddressRange { AddressRange(first: address(first), last: address(last)) }

    static func mac(_ last: UInt64) -> MACAddress { MACAddress(bits: 0x0200_0000_0000 | last) }

    static func engineNetwork(_ digit: Int) -> EngineNetworkID {
        EngineNetworkID(unchecked: String(repeating: String(digit % 10), count: 64))
    }

    static func endpoint(_ digit: Int) -> EndpointID { EndpointID(unchecked: String(repeating: String(digit % 10), count: 64)) }

    static func effect(_ value: UInt64) -> EffectID { EffectID(value: value) }

    static func local(_ digit: Int, on network: NetworkID = Part.network, of engine: Int = 1, address last: UInt8? = nil)
        -> LocalEndpoint
    {
        LocalEndpoint(
            id: endpoint(digit), engineNetwork: engineNetwork(engine), network: network, mac: mac(UInt64(digit)),
            v4: IPPrefix(address(last ?? UInt8(digit)), length: 24), v6: nil)
    }
}

extension Instant {
    static let zero = Instant(nanoseconds: 0)
    static func seconds(_ value: Int64) -> Instant { zero + .seconds(value) }
    static func milliseconds(_ value: Int64) -> Instant { zero + .milliseconds(value) }
    static func - (lhs: Instant, rhs: Interval) -> Instant { Instant(nanoseconds: lhs.nanoseconds - rhs.nanoseconds) }
}

extension [NodeEffect] {
    /// Kinds of the effects, in their order.
    var kinds: [String] { map { String("\($0)".prefix { $0 != "(" }) } }
    var logs: [String] { compactMap { if case .log(_, let message, _) = $0 { message } else { nil } } }
    var stores: [(id: EffectID, rows: [StoreWrite])] {
        compactMap { if case .store(let id, let rows) = $0 { (id, rows) } else { nil } }
    }
    var batches: [[KernelOperation]] { compactMap { if case .apply(_, let operations) = $0 { operations } else { nil } } }
    var observations: [EffectID] { compactMap { if case .observe(let id, _) = $0 { id } else { nil } } }
    var calls: [EngineAPICall] { compactMap { if case .engineCall(_, let call) = $0 { call } else { nil } } }
}
