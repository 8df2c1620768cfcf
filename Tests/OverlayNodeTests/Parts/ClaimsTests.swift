import OverlayDatapath
import OverlayModel
import OverlayReplication
import Testing

@testable import OverlayNode

@Suite struct ClaimsTests {
    private static let network = NetworkID(bits: 7)
    private static let node = NodeID(bits: 1)
    private static let endpoint = EndpointID("0123456789ab")!
    private static let address = IPAddress(v4: 10, 0, 0, 200)
    private static let vni = VNI(1_048_576)!

    private static func at(_ seconds: Double) -> Instant { Instant(nanoseconds: Int64(seconds * 1_000_000_000)) }

    private static func claims(of endpoint: EndpointID = endpoint, number: UInt64) -> EndpointClaims {
        var claims = EndpointClaims(of: endpoint)
        claims.insert(EndpointClaims.Address(address, at: MACAddress(bits: 2), number: number))
        claims.insert(EndpointClaims.Hardware(MACAddress(bits: 2), number: number))
        return claims
    }

    @Test func theHighestNumberCountsThenTheGreaterOwner() {
        var claims = Claims(of: Self.node)
        let own = Claims.Holder(owner: Self.node, endpoint: Self.endpoint)
        let other = Claims.Holder(owner: NodeID(bits: 2), endpoint: Self.endpoint)
        #expect(claims.set(Self.claims(number: 3), of: own, on: Self.network).count == 2)
        #expect(claims.set(Self.claims(number: 3), of: own, on: Self.network).isEmpty)
        _ = claims.set(Self.claims(number: 3), of: other, on: Self.network)
        #expect(claims.claims(of: .address(Self.address), on: Self.network).map(\.holder) == [own, other])
        _ = claims.set(Self.claims(number: 4), of: own, on: Self.network)
        #expect(claims.claims(of: .mac(MACAddress(bits: 2)), on: Self.network).map(\.holder) == [other, own])
        #expect(claims.claims(of: .address(Self.address), on: NetworkID(bits: 8)).isEmpty)
        _ = claims.set(EndpointClaims(of: Self.endpoint), of: own, on: Self.network)
        _ = claims.set(EndpointClaims(of: Self.endpoint), of: other, on: Self.network)
        #expect(claims.isEmpty(on: Self.network) && claims.things(on: Self.network).isEmpty)
    }

    /// Eight takeovers of one thing at once, then one a second; 64 of an endpoint.
    @Test func takeoversArePaced() {
        var claims = Claims(of: Self.node)
        func admit(_ thing: Claims.Thing, at seconds: Double) -> Bool {
            claims.admit(thing, of: Self.endpoint, on: Self.network, now: Self.at(seconds))
        }
        #expect((0..<20).count { _ in admit(.address(Self.address), at: 0) } == 8)
        #expect(!admit(.address(Self.address), at: 0.9))
        #expect(admit(.address(Self.address), at: 1) && !admit(.address(Self.address), at: 1))
        #expect((0..<100).count { admit(.mac(MACAddress(bits: UInt64($0))), at: 1) } == 64 - 9 + 1)
        #expect((2..<30).count { admit(.mac(MACAddress(bits: 1000)), at: Double($0)) } == 28)
    }

    @Test func onlyChangesAreTold() throws {
        var claims = Claims(of: Self.node)
        var outbox = Outbox(journal: WriteJournal(count: 0, announced: nil))
        let hearing = Hearing(macs: [MACAddress(bits: 2)], known: [], isFull: false)
        claims.listen(Self.endpoint, for: (Self.vni, hearing), into: &outbox)
        claims.listen(Self.endpoint, for: (Self.vni, hearing), into: &outbox)
        #expect(outbox.take().count == 1)
        claims.deaf(Self.endpoint, "no port")
        #expect(claims.deafness == [Self.endpoint: "no port"])
        claims.listen(Self.endpoint, for: (Self.vni, hearing), into: &outbox)
        claims.listen(Self.endpoint, for: nil, into: &outbox)
        claims.listen(Self.endpoint, for: nil, into: &outbox)
        #expect(outbox.take().count == 2 && claims.deafness.isEmpty)
        // Late word of a port that nobody listens at.
        claims.deaf(Self.endpoint, "gone")
        #expect(claims.deafness.isEmpty)
    }

    @Test func rowsOfEndpointsThatAreGoneAreDropped() throws {
        let gone = EndpointID("ba9876543210")!
        let rows: StoredRows = [
            .claim: [
                Self.endpoint.wireBytes: Self.claims(number: 5).wireBytes,
                gone.wireBytes: Self.claims(of: gone, number: 6).wireBytes,
            ]
        ]
        let claims = try Claims(of: Self.node, rows: rows) { $0 == gone ? nil : Self.network }
        #expect(claims.own(Self.endpoint, on: Self.network) == Self.claims(number: 5))
        #expect(claims.orphans == [.delete(.claim, key: gone.wireBytes)])
        #expect(throws: DecodeError.self) { try Claims(of: Self.node, rows: [.claim: [[1]: [2]]]) { _ in Self.network } }
    }
}
