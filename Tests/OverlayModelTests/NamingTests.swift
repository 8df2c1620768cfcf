import OverlayModel
import OverlayTestSupport
import Testing

@Suite struct NamingTests {
    @Test func whatIsNoNameIsLeftOutAndNoneIsThereTwice() {
        let names = EndpointNames(names: [
            "Web", "web", "", "a b", "ok.example", String(repeating: "x", count: 64), "a..b", "é", "z_1",
        ])
        #expect(names.names == ["Web", "ok.example", "z_1"])
    }

    @Test func theFirstOnesStayWhereThereIsNoRoom() {
        let many = (0..<1100).map { "name-\($0)" }
        #expect(EndpointNames(names: many).names == Array(many.prefix(Limits.namesPerEndpoint)))
        #expect(EndpointNames.fitting(many + ["a b", "NAME-1"]).cut == Array(many.dropFirst(Limits.namesPerEndpoint)))
        let long = (100..<500).map { "\($0)" + String(repeating: ".x", count: 100) }
        #expect(EndpointNames(names: long).names == Array(long.prefix(Limits.nameBytesPerEndpoint / 203)))
    }

    @Test func manyPortsAreAllOfTheirTransport() {
        func ports(_ range: ClosedRange<UInt16>, _ transport: ExposedPort.Transport) -> [ExposedPort] {
            range.reversed().map { ExposedPort(number: $0, transport: transport) }
        }
        func kept(_ ports: [ExposedPort]) -> [ExposedPort] {
            let kept = EndpointNames(names: [], ports: ports + ports).ports
            // A summary of a summary is itself, as other nodes see it so.
            #expect(EndpointNames(names: [], ports: kept).ports == kept && kept.count <= Limits.portsPerEndpoint)
            return kept
        }
        #expect(kept(ports(1...16, .tcp)) == ports(1...16, .tcp).sorted())
        #expect(kept(ports(1...17, .tcp)) == [.all(.tcp)])
        #expect(kept(ports(1...65_535, .tcp)) == [.all(.tcp)])
        // A range of one transport does not hide a port of another.
        #expect(kept(ports(10_000...20_000, .udp) + ports(8080...8081, .tcp)) == [.all(.udp)] + ports(8080...8081, .tcp).sorted())
        #expect(kept(ports(1...16, .udp) + ports(1...16, .tcp)) == [.all(.tcp), .all(.udp)])
        #expect(kept(ports(1...15, .udp) + ports(1...16, .tcp)) == [.all(.tcp)] + ports(1...15, .udp).sorted())
        #expect(kept(ports(1...20, .udp) + ports(1...30, .tcp) + ports(1...40, .sctp)) == [.all(.tcp), .all(.udp), .all(.sctp)])
    }

    @Test func hostileBytesAreHarmless() {
        let port = ExposedPort(number: 80, transport: .tcp)
        expectHostileBytesAreHarmless(
            [.none, EndpointNames(names: ["web", "db.1"], ports: [port, ExposedPort(number: 53, transport: .udp)])], seed: 5)
    }

    /// A value has one form, as two forms would have two signatures.
    @Test func otherFormsAreRefused() {
        func bytes(_ names: [String], _ ports: [ExposedPort] = []) -> [UInt8] {
            var writer = ByteWriter()
            writer.list(names)
            writer.list(ports)
            return writer.bytes
        }
        let (low, high) = (ExposedPort(number: 1, transport: .tcp), ExposedPort(number: 2, transport: .tcp))
        #expect(decode(EndpointNames.self, bytes(["a", "b"], [low, high])) != .refused(.invalid("endpoint names")))
        for wrong in [bytes(["a", "A"]), bytes(["a b"]), bytes([""]), bytes([], [high, low]), bytes([], [low, low])] {
            #expect(decode(EndpointNames.self, wrong) == .refused(.invalid("endpoint names")))
        }
    }
}
