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
        let ports = (1...100).reversed().map { ExposedPort(number: UInt16($0), transport: .tcp) }
        #expect(EndpointNames(names: [], ports: ports + ports).ports == Array(ports.sorted().prefix(Limits.portsPerEndpoint)))
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
