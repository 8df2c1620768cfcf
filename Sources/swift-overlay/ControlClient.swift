import ArgumentParser
import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import OverlayModel

/// What every client command takes.
struct ClientOptions: ParsableArguments {
    @Option(help: "The daemon's control socket. (default: /run/swift-overlay/control.sock)")
    var controlSocket: String?

    /// Asks the daemon. A refusal is one line on standard error, and exit 1.
    func ask<T: Decodable>(_ method: HTTPMethod, _ path: String, _ body: (any Encodable)? = nil, as type: T.Type) async throws -> T
    {
        let data = try await raw(method, path, body)
        return try JSONDecoder().decode(type, from: data)
    }

    /// The daemon's answer as it is.
    func raw(_ method: HTTPMethod, _ path: String, _ body: (any Encodable)? = nil) async throws -> Data {
        let socket = controlSocketPath(controlSocket)
        var request = HTTPClientRequest(url: "http+unix://\(percentEncoded(socket))\(path)")
        request.method = method
        request.headers.add(name: "Host", value: "swift-overlay")
        request.body = .bytes(ByteBuffer(bytes: Array(try body.map { try JSONEncoder().encode($0) } ?? Data())))
        let response: HTTPClientResponse
        do {
            response = try await HTTPClient.shared.execute(request, timeout: .seconds(15))
        } catch {
            complain(
                "the daemon does not answer on \(socket): \(error); is `swift-overlay daemon` running, and this user allowed to reach it?"
            )
            throw ExitCode(1)
        }
        let data = Data(buffer: try await response.body.collect(upTo: 64 << 20))
        guard response.status == .ok else {
            let refusal = try? JSONDecoder().decode([String: String].self, from: data)
            complain(refusal?["error"] ?? "the daemon answered \(response.status)")
            throw ExitCode(1)
        }
        return data
    }
}

extension Data {
    init(buffer: ByteBuffer) { self.init(buffer.readableBytesView) }
}

struct Message: Decodable {
    var message: String
}

enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
    case text, json
}

/// Rows under headings, as `docker` prints them.
func printTable(_ headings: [String], _ rows: [[String]]) {
    var widths = headings.map(\.count)
    for row in rows {
        for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
    }
    for row in [headings] + rows {
        let cells = row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 3)
        }
        print(cells.joined())
    }
}
