import Foundation
import OverlayDriver
import Testing

/// Recordings of real engines against our server with a small node behind it.
@Suite struct ReplayTests {
    static var transcripts: URL {
        get throws {
            try #require(Bundle.module.url(forResource: "transcripts", withExtension: nil))
        }
    }

    @Test(arguments: ["20.10", "28.5"], [false, true])
    func `Engines accept every answer to what they sent`(engine: String, tellsGateway: Bool) async throws {
        let node = FakeNode(tellsGateway: tellsGateway)
        let report = try await replay(transcripts: Self.transcripts, engine: engine) { await node.handle($0) }
        #expect(report.problems == [])
        #expect(report.outstanding == [])
        #expect(report.calls > 90)

        let requests = await node.requests
        let endpoints = requests.compactMap { if case .createEndpoint(let endpoint) = $0 { endpoint } else { nil } }
        // Networks of another IPAM get no MAC from the engine; all others do.
        #expect(endpoints.contains { $0.mac == nil } && endpoints.contains { $0.mac != nil })
        let purposes = requests.compactMap { if case .requestAddress(let ask) = $0 { ask.purpose } else { nil } }
        #expect(purposes.contains(.auxiliary))
        #expect(purposes.contains(.gateway))
    }

    @Test func `The harness notices a node that answers wrongly`() async throws {
        let node = FakeNode()
        let report = try await replay(transcripts: Self.transcripts, engine: "28.5") { request in
            // Echoes the MAC that the request had set.
            if case .createEndpoint(let ask) = request, let mac = ask.mac {
                _ = await node.handle(request)
                return .endpoint(mac: mac)
            }
            if case .leave = request { return .failed(DriverError(.system, "no such device")) }
            return await node.handle(request)
        }
        #expect(report.problems.contains { $0.contains("driver modified MacAddress") })
        #expect(report.problems.contains { $0.contains("no such device") })
    }
}
