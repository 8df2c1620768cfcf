import ArgumentParser
import AsyncHTTPClient
import FoundationEssentials
import NIOCore
import NIOHTTP1
import OverlayModel

/// Option of every client command.
struct ClientOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("Control socket of the daemon. (default: /run/swift-overlay/control.sock)", valueName: "path"),
        completion: .file())
    var controlSocket: String?

    /// Sends a request to the daemon. Prints a refusal as one line on standard error, and exits with 1.
    func ask<T: Decodable>(_ method: HTTPMethod, _ path: String, _ body: (any Encodable)? = nil, as type: T.Type) async throws -> T
    {
        let data = try await raw(method, path, body)
        return try JSONDecoder().decode(type, from: data)
    }

    /// Body of the daemon's answer, not decoded.
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
            let advice = response.status == .notFound ? "; the daemon is of another release than this program: restart it" : ""
            complain((refusal?["error"] ?? "the daemon answered \(response.status)") + advice)
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

/// Prints an answer of the daemon. What other hosts say about themselves is in it, and must not reach the terminal as it is.
func show(_ text: String, terminator: String = "\n") { print(text.printable(keepingLines: true), terminator: terminator) }

/// Prints rows under headings, as `docker` does.
func printTable(_ headings: [String], _ rows: [[String]]) {
    var widths = headings.map(\.count)
    let rows = rows.map { $0.map { $0.printable() } }
    for row in rows {
        for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.count) }
    }
    for row in [headings] + rows {
        let cells = row.enumerated().map { column, cell in
            column == row.count - 1 ? cell : cell + String(repeating: " ", count: widths[column] - cell.count + 3)
        }
        show(cells.joined())
    }
}
