import Foundation

/// HTTP/1.1 answer as it came over the wire.
struct RawAnswer: Sendable {
    var status: Int
    /// Header fields, with names in lower case.
    var headers: [String: String]
    var body: [UInt8]

    var text: String { String(decoding: body, as: UTF8.self) }
}

struct RawError: Error, CustomStringConvertible {
    var description: String
}

/// Client on a Unix socket that sends exactly the bytes it is given, as HTTP clients do not send an empty Host, half a request or
/// two at once. It blocks on threads of its own: the pool of the test process has two, and the server needs them.
final class RawConnection: @unchecked Sendable {
    private let descriptor: Int32
    private var buffer: [UInt8] = []

    init(path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var timeout = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { field in
            field.copyBytes(from: Array(path.utf8).prefix(field.count - 1))
        }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        guard result == 0 else {
            let text = String(cString: strerror(errno))
            close(descriptor)
            throw RawError(description: "connect \(path): \(text)")
        }
    }

    deinit { close(descriptor) }

    func send(_ text: String) async throws { try await send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) async throws {
        try await offPool { [self] in
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                guard count > 0 else { throw RawError(description: "send: \(String(cString: strerror(errno)))") }
                rest = rest.dropFirst(count)
            }
        }
    }

    /// Sends as much as fits at once. The server may be gone.
    func sendAtOnce(_ bytes: [UInt8]) {
        _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)) }
    }

    /// Ends the sending direction.
    func finish() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Next answer; nil if the server closed the connection before its first byte.
    func receive() async throws -> RawAnswer? {
        try await offPool { [self] in
            while true {
                if let answer = try parse() { return answer }
                guard try fill() else {
                    guard buffer.isEmpty else { throw RawError(description: "closed within an answer") }
                    return nil
                }
            }
        }
    }

    private func fill() throws -> Bool {
        var chunk = [UInt8](repeating: 0, count: 65_536)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count >= 0 else {
            if errno == ECONNRESET { return false }
            throw RawError(description: "recv: \(String(cString: strerror(errno)))")
        }
        buffer += chunk.prefix(count)
        return count > 0
    }

    private func parse() throws -> RawAnswer? {
        let end = Array("\r\n\r\n".utf8)
        guard buffer.count >= 4, let head = (0...(buffer.count - 4)).first(where: { Array(buffer[$0..<($0 + 4)]) == end }) else {
            return nil
        }
        let lines = String(decoding: buffer[..<head], as: UTF8.self).components(separatedBy: "\r\n")
        let first = lines[0].split(separator: " ")
        guard first.count >= 2, first[0] == "HTTP/1.1", let status = Int(first[1]) else {
            throw RawError(description: "status line \(lines[0])")
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw RawError(description: "header \(line)") }
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        guard let length = headers["content-length"].flatMap({ Int($0) }) else {
            throw RawError(description: "no Content-Length in \(lines)")
        }
        guard buffer.count >= head + 4 + length else { return nil }
        let body = Array(buffer[(head + 4)..<(head + 4 + length)])
        buffer.removeFirst(head + 4 + length)
        return RawAnswer(status: status, headers: headers, body: body)
    }
}

/// Runs blocking work on a new thread.
func offPool<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
    try await withCheckedThrowingContinuation { continuation in
        Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
    }
}

extension RawConnection {
    /// Makes one call as an engine sends it.
    func call(_ path: String, body: [UInt8] = [], host: String = "plugin.moby.localhost") async throws -> RawAnswer {
        try await send(Self.request(path, body: body, host: host))
        guard let answer = try await receive() else { throw RawError(description: "\(path): closed without an answer") }
        return answer
    }

    static func request(_ path: String, body: [UInt8] = [], host: String = "plugin.moby.localhost", verb: String = "POST")
        -> [UInt8]
    {
        let head = """
            \(verb) \(path) HTTP/1.1\r
            Host: \(host)\r
            User-Agent: Go-http-client/1.1\r
            Content-Length: \(body.count)\r
            Accept: application/vnd.docker.plugins.v1.2+json\r
            \r

            """
        return Array(head.utf8) + body
    }
}
