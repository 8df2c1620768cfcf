import NIOCore

/// A stream of bytes into lines: the engine ends every event with one newline, and pieces arrive as they like.
struct EventLines {
    /// One event, in bytes.
    static let limit = 1 << 20

    private var bytes = ByteBuffer()
    /// Bytes after the reader index that hold no newline.
    private var searched = 0

    mutating func append(_ piece: ByteBuffer) {
        bytes.discardReadBytes()
        bytes.writeImmutableBuffer(piece)
    }

    /// The next whole line without its newline; nil until more bytes come.
    mutating func next() throws(EngineFailure) -> ByteBuffer? {
        while true {
            let unsearched = bytes.readableBytesView.dropFirst(searched)
            guard let newline = unsearched.firstIndex(of: UInt8(ascii: "\n")) else {
                searched = bytes.readableBytes
                guard searched <= Self.limit else { throw Self.tooLong }
                return nil
            }
            let length = newline - bytes.readerIndex
            searched = 0
            guard length <= Self.limit else { throw Self.tooLong }
            let line = bytes.readSlice(length: length)
            bytes.moveReaderIndex(forwardBy: 1)
            if let line, line.readableBytesView.contains(where: { $0 > 0x20 }) { return line }
        }
    }

    private static let tooLong = EngineFailure(words: "the engine sent an event longer than \(limit >> 20) MiB")
}
