import Glibc
public import Testing

/// The exit status of a command as `pclose` gives it (0 is success), and what it wrote.
public struct Output: Sendable {
    public var status: Int32
    public var text: String

    public init(status: Int32, text: String) {
        self.status = status
        self.text = text
    }
}

/// Runs words in a shell and gives back what they wrote, errors included.
@discardableResult
public func shell(_ words: String) -> Output {
    // Threads of the concurrency runtime block nearly all signals, and children inherit that: `timeout` would never end anything.
    var none = sigset_t()
    var blocked = sigset_t()
    sigemptyset(&none)
    pthread_sigmask(SIG_SETMASK, &none, &blocked)
    let opened = popen("(\(words)\n) 2>&1", "r")
    let code = errno
    pthread_sigmask(SIG_SETMASK, &blocked, nil)
    guard let stream = opened else { return Output(status: -1, text: "popen: errno \(code)") }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = fread(&buffer, 1, buffer.count, stream)
        if count == 0 { break }
        bytes += buffer[..<count]
    }
    return Output(status: pclose(stream), text: String(decoding: bytes, as: UTF8.self))
}

/// Runs words in a shell, which must succeed.
@discardableResult
public func sh(_ words: String, sourceLocation: SourceLocation = #_sourceLocation) -> String {
    let output = shell(words)
    if output.status != 0 { Issue.record("\(words): \(output.text)", sourceLocation: sourceLocation) }
    return output.text
}
