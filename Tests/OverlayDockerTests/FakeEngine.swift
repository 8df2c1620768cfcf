import FoundationEssentials
import Glibc
import Logging
import NIOCore
import NIOPosix
import OverlayDriver
import Synchronization

@testable import OverlayDocker

/// Engine on a Unix socket: hands every request to the test, which writes the answer.
final class FakeEngine: Sendable {
    /// Request, with the connection it came on.
    struct Request: Sendable {
        var method: String
        var target: String
        var body: String
        let channel: any Channel

        func write(_ text: String) { channel.writeAndFlush(ByteBuffer(string: text), promise: nil) }
        func close() { channel.close(promise: nil) }

        func answer(_ status: Int, _ json: String, headers: String = "Api-Version: 1.41\r\n") {
            write("HTTP/1.1 \(status) X\r\n\(headers)Content-Length: \(json.utf8.count)\r\n\r\n\(json)")
        }

        /// Sends the head of the event stream. Pieces follow with ``piece(_:)``.
        func follow() { write("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n") }
        func piece(_ text: String) { write(String(text.utf8.count, radix: 16) + "\r\n" + text + "\r\n") }
    }

    private let channel: any Channel

    init(path: String, handle: @escaping @Sendable (Request) -> Void) async throws {
        channel = try await ServerBootstrap(group: .singletonMultiThreadedEventLoopGroup)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Handler(handle)) }
            }
            .bind(unixDomainSocketPath: path, cleanupExistingSocketFile: true).get()
    }

    func close() async throws { try await channel.close() }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer

        private let handle: @Sendable (Request) -> Void
        private var bytes: [UInt8] = []

        init(_ handle: @escaping @Sendable (Request) -> Void) { self.handle = handle }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            bytes += unwrapInboundIn(data).readableBytesView
            while let end = bytes.firstRange(of: Array("\r\n\r\n".utf8)) {
                let head = String(decoding: bytes[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
                let length =
                    head.lazy.map { $0.lowercased() }.first { $0.hasPrefix("content-length:") }
                    .flatMap { Int($0.split(separator: " ").last ?? "") } ?? 0
                guard bytes.count >= end.upperBound + length else { return }
                let line = head[0].split(separator: " ")
                let body = String(decoding: bytes[end.upperBound..<(end.upperBound + length)], as: UTF8.self)
                bytes.removeFirst(end.upperBound + length)
                handle(Request(method: String(line[0]), target: String(line[1]), body: body, channel: context.channel))
            }
        }
    }
}

/// Queue that a test reads one by one.
struct Inbox<Element: Sendable>: Sendable {
    let put: @Sendable (Element) -> Void
    private let iterator: SoleReader<AsyncStream<Element>.Iterator>

    init() {
        let (stream, continuation) = AsyncStream.makeStream(of: Element.self)
        put = { continuation.yield($0) }
        iterator = SoleReader(stream.makeAsyncIterator())
    }

    /// Next element. One reader at a time; the suite's time limit ends a wait in vain.
    func next() async throws -> Element {
        guard let element = await iterator.value.next(isolation: nil) else { throw CancellationError() }
        return element
    }
}

// Unchecked, as a test reads its inbox from one task only.
final class SoleReader<Value>: @unchecked Sendable {
    var value: Value
    init(_ value: Value) { self.value = value }
}

let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Folder for a socket, with a path that is short enough.
func withSocket(_ body: (String) async throws -> Void) async throws {
    let folder = "/tmp/engine-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
    mkdir(folder, 0o700)
    defer {
        unlink(folder + "/e.sock")
        rmdir(folder)
    }
    try await body(folder + "/e.sock")
}

/// Runs a client and collects its events until the body ends.
func withClient(
    _ path: String, driver: String = "swift-overlay", _ body: (EngineAPIClient, Inbox<EngineAPINews>) async throws -> Void
) async throws {
    let news = Inbox<EngineAPINews>()
    let client = try EngineAPIClient(endpoint: "unix://" + path, driver: driver, logger: quiet, news: news.put)
    let run = Task { await client.run() }
    do {
        try await body(client, news)
    } catch {
        await client.stop()
        throw error
    }
    await client.stop()
    await run.value
}

extension EngineAPIClient {
    func ask(_ call: EngineAPICall) async -> EngineAPIAnswer {
        await withCheckedContinuation { continuation in
            self.call(call) { continuation.resume(returning: $0) }
        }
    }
}

extension EngineAPIAnswer {
    var networks: [EngineNetwork]? { if case .networks(let networks) = self { networks } else { nil } }
    var network: EngineNetwork? { if case .network(let network) = self { network } else { nil } }
    var containers: [EngineContainer]? { if case .containers(let containers) = self { containers } else { nil } }
    var container: EngineContainer? { if case .container(let container) = self { container } else { nil } }
    var problem: String? { if case .unavailable(let words) = self { words } else { nil } }
}
